//! The folder of a run below the system's temporary folder, and what is shared by its experiments.

use std::path::{Path, PathBuf};
#[cfg(feature = "live")]
use std::sync::OnceLock;

use tempfile::TempDir;

use crate::{LabError, WorldKind};

/// The name's beginning; the process id and a random part follow.
const PREFIX: &str = "transect-lab-";

/// Memory that looks like a disk (tmpfs), where Linux has it.
const MEMORY: &str = "/dev/shm";

/// How much room there must be in it: containers often have 64 MiB, and an experiment with a long transfer may need more.
const ENOUGH_MEMORY: u64 = 1 << 30;

/// A temporary folder that is removed with the value, and a MariaDB data folder to copy from.
#[derive(Debug)]
pub(crate) struct RunFolder {
    folder: TempDir,
    #[cfg(feature = "live")]
    mariadb: OnceLock<Result<PathBuf, String>>,
}

impl RunFolder {
    /// Makes the folder, and removes those of runs that were killed.
    pub(crate) fn create(world: WorldKind) -> Result<Self, LabError> {
        let parent = parent(world);
        remove_stale(&parent);
        let folder = tempfile::Builder::new()
            .prefix(&format!("{PREFIX}{}-", std::process::id()))
            .tempdir_in(&parent)
            .map_err(|source| LabError::Temporary {
                path: parent,
                source,
            })?;
        Ok(RunFolder {
            folder,
            #[cfg(feature = "live")]
            mariadb: OnceLock::new(),
        })
    }

    /// A new folder for one experiment.
    pub(crate) fn experiment(&self, name: &str) -> Result<PathBuf, LabError> {
        let path = self.folder.path().join(name);
        std::fs::create_dir(&path).map_err(|source| LabError::Temporary {
            path: path.clone(),
            source,
        })?;
        Ok(path)
    }

    /// A MariaDB data folder with the system tables, made at first use by `install`, which is given the path.
    ///
    /// # Errors
    /// The one of the first use.
    #[cfg(feature = "live")]
    pub(crate) fn mariadb_template(
        &self,
        install: impl FnOnce(&Path) -> Result<PathBuf, String>,
    ) -> Result<&Path, String> {
        self.mariadb
            .get_or_init(|| install(&self.folder.path().join("mariadb-template")))
            .as_deref()
            .map_err(Clone::clone)
    }
}

/// Where the folder is made. What the model world writes is read back at once and removed: on a disk, the file system's part would be
/// more than all the rest. `TMPDIR` has the last word.
fn parent(world: WorldKind) -> PathBuf {
    let in_memory = world == WorldKind::Model
        && std::env::var_os("TMPDIR").is_none()
        && rustix::fs::statvfs(MEMORY)
            .is_ok_and(|room| room.f_bavail.saturating_mul(room.f_frsize) >= ENOUGH_MEMORY)
        && rustix::fs::access(MEMORY, rustix::fs::Access::WRITE_OK).is_ok();
    match in_memory {
        true => PathBuf::from(MEMORY),
        false => std::env::temp_dir(),
    }
}

/// Removes folders of processes that are no more. Best effort: another user's are not ours to remove.
fn remove_stale(parent: &Path) {
    let Ok(entries) = std::fs::read_dir(parent) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name
            .to_str()
            .and_then(|name| name.strip_prefix(PREFIX))
            .and_then(|rest| rest.split('-').next())
            .and_then(|pid| pid.parse::<u32>().ok());
        if pid.is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists()) {
            let _ = std::fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_runs_are_removed_and_of_living_ones_kept() {
        let parent = tempfile::tempdir().unwrap();
        // Process ids end at 4194304 (PID_MAX_LIMIT).
        let dead = parent.path().join(format!("{PREFIX}4999999-x"));
        let alive = parent
            .path()
            .join(format!("{PREFIX}{}-x", std::process::id()));
        std::fs::create_dir(&dead).unwrap();
        std::fs::create_dir(&alive).unwrap();
        remove_stale(parent.path());
        assert!(!dead.exists() && alive.exists());
    }
}
