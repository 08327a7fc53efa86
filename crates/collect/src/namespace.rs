//! Which hosts to observe, and how to get into them: a host is a network namespace with a label.
//!
//! A thread, not the process, enters a namespace (setns(2)). So each namespace gets threads of its own, and everything
//! those open (sockets, /proc/thread-self/net, child processes) belongs to it.

use std::collections::HashMap;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::Error;

/// Where `ip netns` keeps its names.
const NAME_FOLDERS: [&str; 2] = ["/run/netns", "/var/run/netns"];

/// The place of verdicts that stands for everything between the hosts; no host may be called so.
const RESERVED: &str = "network";

/// How the user named a network namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum NamespaceRef {
    /// The one in which Transect was started.
    Current,
    /// A name that `ip netns` knows.
    Name(String),
    /// The one that this process lives in: `pid:N`.
    Pid(u32),
    /// A file that refers to one, such as `/proc/1/ns/net`.
    Path(PathBuf),
}

/// One host to observe.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct HostPlan {
    /// How the verdict calls it.
    pub label: String,
    /// Where it is.
    pub namespace: NamespaceRef,
}

impl NamespaceRef {
    /// Opens the namespace, without entering it.
    ///
    /// # Errors
    /// There is no such namespace, or the user may not look at it.
    pub fn open(&self) -> Result<Namespace, Error> {
        let path = match self {
            NamespaceRef::Current => PathBuf::from("/proc/thread-self/ns/net"),
            NamespaceRef::Name(name) => find_name(name),
            NamespaceRef::Pid(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
            NamespaceRef::Path(path) => path.clone(),
        };
        let missing = |error: io::Error| Error::NamespaceMissing {
            name: self.to_string(),
            reason: advice(self, &path, &error),
        };
        let file = File::open(&path).map_err(missing)?;
        let id = identity(&file).map_err(missing)?;
        let current = File::open("/proc/thread-self/ns/net")
            .and_then(|file| identity(&file))
            .map_err(missing)?;
        Ok(Namespace {
            file: file.into(),
            id,
            current: id == current,
            name: self.to_string(),
        })
    }
}

fn find_name(name: &str) -> PathBuf {
    let candidates = NAME_FOLDERS.map(|folder| Path::new(folder).join(name));
    let [first, _] = &candidates;
    let found = candidates.iter().find(|path| path.exists());
    found.unwrap_or(first).clone()
}

fn advice(namespace: &NamespaceRef, path: &Path, error: &io::Error) -> String {
    let shown = path.display();
    match (namespace, error.kind()) {
        (NamespaceRef::Name(_), io::ErrorKind::NotFound) => {
            format!("{shown}: {error} (`ip netns list` shows the names there are)")
        }
        (NamespaceRef::Pid(_), io::ErrorKind::NotFound) => {
            format!("{shown}: there is no such process")
        }
        (_, io::ErrorKind::PermissionDenied) => format!("{shown}: {error} (run as root)"),
        _ => format!("{shown}: {error}"),
    }
}

impl std::fmt::Display for NamespaceRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NamespaceRef::Current => f.write_str("the current namespace"),
            NamespaceRef::Name(name) => f.write_str(name),
            NamespaceRef::Pid(pid) => write!(f, "pid:{pid}"),
            NamespaceRef::Path(path) => write!(f, "{}", path.display()),
        }
    }
}

impl HostPlan {
    /// Reads `[LABEL=]NAME`, `[LABEL=]pid:N` or `[LABEL=]/PATH`.
    ///
    /// Without a label it is NAME, `pid-N`, or the last part of the path.
    ///
    /// # Errors
    /// The text names no namespace, or the label cannot be one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let wrong = |reason: &str| Error::HostName {
            text: text.to_owned(),
            reason: reason.to_owned(),
        };
        // A path may hold a `=` of its own; a label never holds a `/`.
        let (label, rest) = match text.split_once('=') {
            Some((label, rest)) if !label.contains('/') => (Some(label), rest),
            _ => (None, text),
        };
        let namespace = if let Some(pid) = rest.strip_prefix("pid:") {
            let pid = pid.parse().ok().filter(|&pid| pid > 0);
            NamespaceRef::Pid(pid.ok_or_else(|| wrong("expected a process id after pid:"))?)
        } else if rest.starts_with('/') {
            NamespaceRef::Path(PathBuf::from(rest))
        } else if rest.is_empty() || rest.contains('/') || rest == "." || rest == ".." {
            return Err(wrong("expected [LABEL=]NAME, pid:N or an absolute /PATH"));
        } else {
            NamespaceRef::Name(rest.to_owned())
        };
        let label = match (label, &namespace) {
            (Some(label), _) => label.to_owned(),
            (None, NamespaceRef::Pid(pid)) => format!("pid-{pid}"),
            (None, NamespaceRef::Path(path)) => path
                .file_name()
                .map(|name| name.to_string_lossy().into_owned())
                .unwrap_or_default(),
            (None, _) => rest.to_owned(),
        };
        check_label(&label).map_err(|reason| wrong(&reason))?;
        Ok(HostPlan { label, namespace })
    }

    /// The host in which Transect was started, labelled by its host name.
    pub fn current() -> Self {
        let system = rustix::system::uname();
        HostPlan {
            label: label_of_host_name(&system.nodename().to_string_lossy()),
            namespace: NamespaceRef::Current,
        }
    }

    /// The hosts that these arguments name, in their order; the current one when there are none.
    ///
    /// # Errors
    /// A name is not understood, or two hosts get the same label.
    pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Self>, Error> {
        if texts.is_empty() {
            return Ok(vec![HostPlan::current()]);
        }
        let mut seen: HashMap<String, &str> = HashMap::new();
        let mut hosts = Vec::new();
        for text in texts {
            let text = text.as_ref();
            let host = HostPlan::parse(text)?;
            if let Some(first) = seen.insert(host.label.clone(), text) {
                return Err(Error::LabelTaken {
                    label: host.label,
                    first: first.to_owned(),
                    second: text.to_owned(),
                });
            }
            hosts.push(host);
        }
        Ok(hosts)
    }
}

/// Labels stand in `host/point/edge` and in `LABEL=PATH`, `LABEL@POINT=PATH`, `LABEL:log`, so they are plain words.
fn check_label(label: &str) -> Result<(), String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    if label == RESERVED {
        return Err(format!(
            "\"{RESERVED}\" stands for everything between the hosts; choose another label with LABEL="
        ));
    }
    if label.is_empty() || label.starts_with('.') || !label.bytes().all(plain) {
        return Err(format!(
            "the label \"{label}\" may hold only letters, digits, \"-\", \"_\" and inner dots; choose one with LABEL="
        ));
    }
    Ok(())
}

fn label_of_host_name(name: &str) -> String {
    let label: String = name
        .chars()
        .map(|c| {
            let plain = c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
            if plain { c } else { '-' }
        })
        .collect();
    let label = label.trim_start_matches('.');
    if check_label(label).is_ok() {
        label.to_owned()
    } else {
        "host".to_owned()
    }
}

/// An open network namespace.
#[derive(Debug)]
pub struct Namespace {
    file: OwnedFd,
    id: NamespaceId,
    current: bool,
    name: String,
}

/// What tells one namespace from another: device and inode of its file (namespaces(7)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct NamespaceId {
    device: u64,
    inode: u64,
}

fn identity(file: &File) -> io::Result<NamespaceId> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata()?;
    Ok(NamespaceId {
        device: metadata.dev(),
        inode: metadata.ino(),
    })
}

impl Namespace {
    /// Tells this namespace from others.
    pub fn id(&self) -> NamespaceId {
        self.id
    }

    /// How the user named it.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Moves the calling thread into the namespace, for good: setns(2). Nothing to do in the current one, which needs no
    /// rights then.
    fn enter(&self) -> Result<(), Error> {
        if self.current {
            return Ok(());
        }
        move_into_link_name_space(self.file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(
            |errno| Error::NamespaceEnter {
                name: self.name.clone(),
                source: errno.into(),
            },
        )
    }

    /// Starts a thread that lives in the namespace and runs `work` there.
    ///
    /// # Errors
    /// The thread cannot be started. That the namespace cannot be entered is the thread's own result.
    pub fn spawn<T, F>(
        self: &Arc<Self>,
        thread_name: &str,
        work: F,
    ) -> Result<JoinHandle<Result<T, Error>>, Error>
    where
        T: Send + 'static,
        F: FnOnce() -> Result<T, Error> + Send + 'static,
    {
        let namespace = Arc::clone(self);
        std::thread::Builder::new()
            .name(thread_name.to_owned())
            .spawn(move || {
                namespace.enter()?;
                work()
            })
            .map_err(Error::system(format!("starting the thread {thread_name}")))
    }
}

/// Runs `work` on a thread of its own inside the namespace and waits for it. The calling thread stays where it is.
///
/// # Errors
/// The namespace cannot be entered (CAP_SYS_ADMIN), the thread cannot be started, or `work` fails.
pub fn in_namespace<T, F>(namespace: &Arc<Namespace>, work: F) -> Result<T, Error>
where
    T: Send + 'static,
    F: FnOnce() -> Result<T, Error> + Send + 'static,
{
    join(namespace.spawn("in-namespace", work)?)
}

/// Waits for a thread; a panic in it is a panic here.
pub(crate) fn join<T>(thread: JoinHandle<Result<T, Error>>) -> Result<T, Error> {
    match thread.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> (String, NamespaceRef) {
        let host = HostPlan::parse(text).unwrap();
        (host.label, host.namespace)
    }

    #[test]
    fn hosts_are_named_as_the_design_says() {
        let name = |name: &str| NamespaceRef::Name(name.to_owned());
        let path = |path: &str| NamespaceRef::Path(PathBuf::from(path));
        assert_eq!(parsed("web"), ("web".to_owned(), name("web")));
        assert_eq!(parsed("server=web"), ("server".to_owned(), name("web")));
        assert_eq!(
            parsed("pid:42"),
            ("pid-42".to_owned(), NamespaceRef::Pid(42))
        );
        assert_eq!(
            parsed("db=pid:42"),
            ("db".to_owned(), NamespaceRef::Pid(42))
        );
        assert_eq!(parsed("/a/b"), ("b".to_owned(), path("/a/b")));
        assert_eq!(parsed("s=/a=b/c"), ("s".to_owned(), path("/a=b/c")));
        assert_eq!(parsed("/x/a.b"), ("a.b".to_owned(), path("/x/a.b")));
    }

    #[test]
    fn what_names_no_host_is_a_usage_error_that_says_why() {
        let refused = |text: &str| {
            let error = HostPlan::parse(text).unwrap_err();
            assert!(error.is_usage());
            error.to_string()
        };
        assert!(refused("network").contains("everything between the hosts"));
        assert!(refused("network=web").contains("LABEL="));
        assert!(refused("pid:x").contains("process id"));
        assert!(refused("pid:0").contains("process id"));
        assert!(refused("").contains("expected [LABEL=]NAME"));
        assert!(refused("a/b").contains("expected [LABEL=]NAME"));
        assert!(refused("..").contains("expected [LABEL=]NAME"));
        assert!(refused("=web").contains("may hold only"));
        assert!(refused("a b").contains("may hold only"));
        // The path's last part holds a "=", which no label may.
        assert!(refused("/a=b").contains("may hold only"));
    }

    #[test]
    fn two_hosts_with_one_label_are_both_named() {
        let error = HostPlan::parse_all(&["web", "web=pid:1"]).unwrap_err();
        assert!(error.is_usage());
        assert_eq!(
            error.to_string(),
            "\"web\" and \"web=pid:1\" are both labelled \"web\": give one of them another label with LABEL="
        );
    }

    #[test]
    fn without_names_it_is_the_current_host() {
        let hosts = HostPlan::parse_all::<&str>(&[]).unwrap();
        assert_eq!(hosts, [HostPlan::current()]);
        assert_eq!(hosts[0].namespace, NamespaceRef::Current);
    }

    #[test]
    fn host_names_become_labels() {
        assert_eq!(label_of_host_name("web1.example.org"), "web1.example.org");
        assert_eq!(label_of_host_name("my host"), "my-host");
        assert_eq!(label_of_host_name("network"), "host");
        assert_eq!(label_of_host_name(""), "host");
    }

    #[test]
    fn the_current_namespace_needs_no_rights() {
        let namespace = Arc::new(NamespaceRef::Current.open().unwrap());
        let again = NamespaceRef::Path("/proc/self/ns/net".into())
            .open()
            .unwrap();
        assert_eq!(namespace.id(), again.id());
        assert_eq!(in_namespace(&namespace, || Ok(7)).unwrap(), 7);
    }

    #[test]
    fn a_missing_namespace_says_where_names_come_from() {
        let error = NamespaceRef::Name("no-such-namespace".to_owned())
            .open()
            .unwrap_err();
        assert!(!error.is_usage());
        assert!(error.to_string().contains("ip netns list"), "{error}");
    }
}
