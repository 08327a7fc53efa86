//! What can be observed on this host: every thing that an observation needs, looked at without changing anything.
//!
//! Each probe is one function from the [`System`] to a [`Check`]; the list in [`examine`] is their order.

mod kernel;
mod rights;
mod tools;

use std::path::{Path, PathBuf};

use transect_report::{Check, DOCTOR_SCHEMA, Doctor, Standing};

/// The host, as far as files tell. Tests look at a folder of their own instead.
#[derive(Debug, Clone)]
pub(crate) struct System {
    root: PathBuf,
    /// Where programs are looked for.
    search: Vec<PathBuf>,
}

impl System {
    /// The host on which this program runs.
    pub(crate) fn this() -> Self {
        let mut search: Vec<PathBuf> = std::env::var_os("PATH")
            .map(|path| std::env::split_paths(&path).collect())
            .unwrap_or_default();
        // Administrators' tools are there also when the user's PATH does not say so.
        for folder in ["/usr/sbin", "/sbin", "/usr/bin", "/bin", "/usr/local/sbin"] {
            let folder = PathBuf::from(folder);
            if !search.contains(&folder) {
                search.push(folder);
            }
        }
        System {
            root: PathBuf::from("/"),
            search,
        }
    }

    fn path(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The file's text, when it can be read.
    fn read(&self, path: &str) -> std::io::Result<String> {
        std::fs::read(self.path(path)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    fn exists(&self, path: &str) -> bool {
        self.path(path).exists()
    }

    /// Where the program is, if it is installed and executable.
    fn program(&self, name: &str) -> Option<PathBuf> {
        self.search
            .iter()
            .map(|folder| folder.join(name))
            .find(|path| is_executable(path))
    }
}

fn is_executable(path: &Path) -> bool {
    use std::os::unix::fs::PermissionsExt as _;
    std::fs::metadata(path)
        .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// Looks at everything.
pub(crate) fn examine(system: &System) -> Doctor {
    let release = system
        .read("/proc/sys/kernel/osrelease")
        .map(|text| text.trim().to_owned())
        .unwrap_or_else(|_| "unknown".to_owned());
    let mut checks = rights::checks(system);
    checks.extend(kernel::checks(system));
    checks.extend(tools::checks(system));
    Doctor {
        schema: DOCTOR_SCHEMA.to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        kernel: release,
        live: cfg!(feature = "live"),
        checks,
    }
}

/// It is there.
fn ok(name: &str, found: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        standing: Standing::Ok,
        found: found.into(),
        without: None,
        advice: None,
    }
}

/// It is missing.
fn missing(name: &str, found: impl Into<String>, without: &str, advice: &str) -> Check {
    Check {
        name: name.to_owned(),
        standing: Standing::Missing,
        found: found.into(),
        without: Some(without.to_owned()),
        advice: Some(advice.to_owned()).filter(|advice| !advice.is_empty()),
    }
}

/// It is there in part.
fn partly(name: &str, found: impl Into<String>, without: &str, advice: &str) -> Check {
    Check {
        standing: Standing::Partly,
        ..missing(name, found, without, advice)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A host that has these files and no programs.
    pub(super) fn host(files: &[(&str, &str)]) -> (tempfile::TempDir, System) {
        let folder = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = folder.path().join(path.trim_start_matches('/'));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let system = System {
            root: folder.path().to_owned(),
            search: vec![folder.path().join("bin")],
        };
        (folder, system)
    }

    #[test]
    fn this_host_is_examined_without_failing() {
        let doctor = examine(&System::this());
        assert_eq!(doctor.schema, DOCTOR_SCHEMA);
        for check in &doctor.checks {
            assert!(!check.found.is_empty(), "{check:?}");
            assert_eq!(
                check.without.is_none(),
                check.standing == Standing::Ok,
                "{check:?}"
            );
        }
        let mut names: Vec<_> = doctor.checks.iter().map(|check| &check.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), doctor.checks.len());
    }

    #[test]
    fn an_empty_host_lacks_everything_that_files_tell() {
        let (_folder, system) = host(&[]);
        let doctor = examine(&system);
        assert_eq!(doctor.kernel, "unknown");
        for name in ["right.net_raw", "proc.net", "tool.nft", "trace.btf"] {
            let check = doctor.checks.iter().find(|check| check.name == name);
            assert_eq!(
                check.map(|check| check.standing),
                Some(Standing::Missing),
                "{name}"
            );
        }
    }
}
