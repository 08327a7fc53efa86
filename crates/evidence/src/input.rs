//! What a user names as input: `LABEL=PATH`, `LABEL.before=PATH`, `LABEL@POINT=PATH`, or a path alone.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use transect_path::Point;

/// One file, folder or bundle to explain, and what the user says about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Input {
    /// The host's label; `None` takes it from the file's name, and a bundle keeps its own.
    pub label: Option<String>,
    /// What the user says that the file is.
    pub role: Role,
    /// Where it is.
    pub path: PathBuf,
}

/// What the user says that a file is. Its kind is recognised by its content all the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Nothing.
    Any,
    /// A dump from before the failure.
    Before,
    /// A dump from after it.
    After,
    /// A capture that was taken at this point, not at the link layer.
    At(Point),
    /// The log of an application.
    Log,
}

impl Input {
    /// From what stands behind `--log`: `LABEL=PATH`, or a path alone.
    ///
    /// # Errors
    /// As [`Input::from_str`].
    pub fn log(text: &str) -> Result<Self, String> {
        let (label, path) = split(text);
        Ok(Input {
            label: label.map(checked_label).transpose()?,
            role: Role::Log,
            path: checked_path(text, path)?,
        })
    }

    /// The label: the one that was given, else the file's stem (`server` of `dir/server.pcap.gz`).
    pub fn label_or_stem(&self) -> String {
        let stem = || Some(stem(&self.path)).filter(|stem| !stem.is_empty());
        self.label
            .clone()
            .or_else(stem)
            .unwrap_or_else(|| "host".to_owned())
    }
}

impl FromStr for Input {
    type Err = String;

    /// Reads `LABEL=PATH`, `LABEL.before=PATH`, `LABEL.after=PATH`, `LABEL@POINT=PATH` or a path alone.
    ///
    /// An `=` behind a `/` belongs to the path, so that `./a=b` is a path.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (front, path) = split(text);
        let path = checked_path(text, path)?;
        let Some(front) = front else {
            return Ok(Input {
                label: None,
                role: Role::Any,
                path,
            });
        };
        let (label, role) = if let Some((label, point)) = front.rsplit_once('@') {
            (label, Role::At(point.parse()?))
        } else if let Some(label) = front.strip_suffix(".before") {
            (label, Role::Before)
        } else if let Some(label) = front.strip_suffix(".after") {
            (label, Role::After)
        } else {
            (front, Role::Any)
        };
        Ok(Input {
            label: Some(checked_label(label)?),
            role,
            path,
        })
    }
}

fn split(text: &str) -> (Option<&str>, &str) {
    match text.split_once('=') {
        Some((front, path)) if !front.contains('/') => (Some(front), path),
        _ => (None, text),
    }
}

fn checked_path(text: &str, path: &str) -> Result<PathBuf, String> {
    if path.is_empty() {
        return Err(format!(
            "\"{text}\" names no file: expected PATH or LABEL=PATH"
        ));
    }
    Ok(PathBuf::from(path))
}

fn checked_label(label: &str) -> Result<String, String> {
    match label {
        "" => Err("the label before \"=\" is empty: expected LABEL=PATH".to_owned()),
        "network" => Err(
            "\"network\" is no label: it means everything between the hosts; choose another"
                .to_owned(),
        ),
        _ => Ok(label.to_owned()),
    }
}

/// The file's name without the endings that say its kind and compression.
pub(crate) fn stem(path: &Path) -> String {
    let canonical;
    let name = match path.file_name() {
        Some(name) => name,
        // `.` and `..` have a name only once they are followed.
        None => {
            canonical = path.canonicalize().unwrap_or_default();
            canonical.file_name().unwrap_or_default()
        }
    };
    let mut name = name.to_string_lossy().into_owned();
    for ending in [".gz", ".zst", ".tar"] {
        if let Some(short) = name.strip_suffix(ending)
            && !short.is_empty()
        {
            name.truncate(short.len());
        }
    }
    match Path::new(&name).file_stem() {
        Some(stem) if !path.is_dir() => stem.to_string_lossy().into_owned(),
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(label: Option<&str>, role: Role, path: &str) -> Result<Input, String> {
        Ok(Input {
            label: label.map(str::to_owned),
            role,
            path: path.into(),
        })
    }

    #[test]
    fn the_forms_of_an_input() {
        assert_eq!("a.pcap".parse(), input(None, Role::Any, "a.pcap"));
        assert_eq!("s=a.pcap".parse(), input(Some("s"), Role::Any, "a.pcap"));
        assert_eq!("s.before=x".parse(), input(Some("s"), Role::Before, "x"));
        assert_eq!(
            "h.org.after=x".parse(),
            input(Some("h.org"), Role::After, "x")
        );
        assert_eq!(
            "s@raw_tap=x".parse(),
            input(Some("s"), Role::At(Point::RawTap), "x")
        );
        assert_eq!("./a=b".parse(), input(None, Role::Any, "./a=b"));
        assert_eq!("s=d/a=b".parse(), input(Some("s"), Role::Any, "d/a=b"));
        assert_eq!(
            Input::log("s=/var/log/x"),
            input(Some("s"), Role::Log, "/var/log/x")
        );
        assert_eq!(
            Input::log("/var/log/x"),
            input(None, Role::Log, "/var/log/x")
        );
    }

    #[test]
    fn what_is_no_input_says_why() {
        for (text, expected) in [
            ("s=", "names no file"),
            ("=x", "is empty"),
            (".before=x", "is empty"),
            ("network=x", "is no label"),
            (
                "s@nowhere=x",
                "unknown Point: \"nowhere\"; expected one of app_send",
            ),
        ] {
            let error = text.parse::<Input>().unwrap_err();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_label_is_the_stem() {
        for (path, expected) in [
            ("dir/server.pcap", "server"),
            ("server.pcapng.gz", "server"),
            ("server.tar.zst", "server"),
            ("10.0.0.1.pcap", "10.0.0.1"),
            ("netstat", "netstat"),
            ("/", ""),
            ("/proc/", "proc"),
        ] {
            assert_eq!(stem(Path::new(path)), expected, "{path}");
        }
    }
}
