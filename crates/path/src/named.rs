//! Enums whose variants carry the stable name that users see.

/// Declares a closed list: an enum with one stable name for each variant, in the order of declaration.
///
/// Makes `ALL`, `id()`, `Display`, `FromStr` (whose error lists what was expected) and the serde forms.
#[macro_export]
macro_rules! named_enum {
    (
        $(#[$meta:meta])*
        pub enum $name:ident {
            $( $(#[$variant_meta:meta])* $variant:ident => $id:literal, )+
        }
    ) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize, serde::Deserialize)]
        pub enum $name {
            $( $(#[$variant_meta])* #[serde(rename = $id)] $variant, )+
        }

        impl $name {
            /// Every value, in order.
            pub const ALL: &'static [$name] = &[ $( $name::$variant, )+ ];

            /// The stable name that users and files know.
            pub const fn id(self) -> &'static str {
                match self { $( $name::$variant => $id, )+ }
            }
        }

        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.pad(self.id())
            }
        }

        impl std::str::FromStr for $name {
            type Err = String;

            fn from_str(text: &str) -> Result<Self, Self::Err> {
                match text {
                    $( $id => Ok($name::$variant), )+
                    _ => Err(format!(
                        "unknown {}: \"{}\"; expected one of {}",
                        stringify!($name), text, [$( $id, )+].join(", "),
                    )),
                }
            }
        }
    };
}
