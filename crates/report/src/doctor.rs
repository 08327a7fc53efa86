//! What can be observed on this host and what cannot (`transect.doctor/1`).

use serde::{Deserialize, Serialize};
use transect_path::named_enum;

use crate::{Color, Page, Style};

/// The name and version of the schema of [`Doctor`].
pub const DOCTOR_SCHEMA: &str = "transect.doctor/1";

named_enum! {
    /// How one thing that an observation needs stands.
    pub enum Standing {
        /// It is there.
        Ok => "ok",
        /// It is there in part.
        Partly => "partly",
        /// It is missing.
        Missing => "missing",
    }
}

/// One thing that an observation needs, and how it stands on this host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// A stable name: `right.net_raw`, `tool.nft`, `proc.netstat`.
    pub name: String,
    /// How it stands.
    pub standing: Standing,
    /// What was found, in words.
    pub found: String,
    /// What cannot be seen or done without it; null when it is there.
    pub without: Option<String>,
    /// What to do about it; null when it is there or nothing can be done.
    pub advice: Option<String>,
}

/// The findings on one host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Doctor {
    /// Always [`DOCTOR_SCHEMA`].
    pub schema: String,
    /// Transect's version.
    pub version: String,
    /// The kernel's release, as `uname -r` prints it.
    pub kernel: String,
    /// Whether this build can observe live (feature `live`).
    pub live: bool,
    /// Everything that was looked at, in a fixed order.
    pub checks: Vec<Check>,
}

impl Doctor {
    /// How many checks stand as `standing`.
    pub fn count(&self, standing: Standing) -> usize {
        self.checks
            .iter()
            .filter(|check| check.standing == standing)
            .count()
    }

    /// The findings for a terminal.
    pub fn text(&self, style: Style) -> String {
        let mut page = Page::new(style);
        let live = if self.live {
            ""
        } else {
            ", built without live observation"
        };
        page.paragraph(
            0,
            &format!(
                "Transect {} on Linux {}{live}: {} ok, {} partly, {} missing",
                self.version,
                self.kernel,
                self.count(Standing::Ok),
                self.count(Standing::Partly),
                self.count(Standing::Missing),
            ),
        );
        page.gap();
        for check in &self.checks {
            let (mark, color) = match check.standing {
                Standing::Ok => ("ok", Color::Good),
                Standing::Partly => ("partly", Color::Warn),
                Standing::Missing => ("missing", Color::Bad),
            };
            page.entry(
                0,
                (mark, color),
                9,
                &format!("{}: {}", check.name, check.found),
            );
            if let Some(without) = &check.without {
                page.entry(9, ("without it:", Color::Faint), 12, without);
            }
            if let Some(advice) = &check.advice {
                page.entry(9, ("do:", Color::Strong), 12, advice);
            }
        }
        page.finish()
    }
}
