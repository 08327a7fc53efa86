//! Real programs: MariaDB, nginx, or any command, each with a folder of its own and ready when its port listens.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::sockets::{State, tcp_sockets};
use super::{HostNamespace, RunFolder, WorldError, command};
use crate::scenario::{Program, ProgramKind};

/// A program that runs until it is dropped.
pub(super) struct RunningProgram {
    pub(super) name: String,
    port: u16,
    child: Child,
    folder: PathBuf,
}

/// The folder of a program of an experiment.
pub(super) fn folder(experiment: &Path, program: &str) -> PathBuf {
    experiment.join(format!("program-{program}"))
}

impl RunningProgram {
    /// Starts it.
    pub(super) fn start(
        program: &Program,
        host: &HostNamespace,
        run_folder: &RunFolder,
        experiment: &Path,
    ) -> Result<Self, WorldError> {
        let folder = folder(experiment, &program.name);
        std::fs::create_dir(&folder)
            .map_err(WorldError::doing(format!("making {}", folder.display())))?;
        let text = match program.kind {
            ProgramKind::Mariadb => {
                let template = run_folder
                    .mariadb_template(install_mariadb)
                    .map_err(WorldError)?;
                mariadb(template, &folder, program.port)?
            }
            ProgramKind::Nginx => nginx(&folder, program.port)?,
            ProgramKind::Command => program
                .command
                .as_deref()
                .ok_or_else(|| {
                    WorldError(format!("the program {} has no `command`", program.name))
                })?
                .replace("@FOLDER@", &folder.to_string_lossy()),
        };
        let mut started = command::prepare(&text, &folder)?;
        let output = File::create(folder.join("output"))
            .and_then(|file| Ok((file.try_clone()?, file)))
            .map_err(WorldError::doing("making the program's output file"))?;
        started.stdout(output.0).stderr(output.1);
        let child = host
            .start(started)
            .map_err(|error| command::start_error(&text, &error))?;
        Ok(RunningProgram {
            name: program.name.clone(),
            port: program.port,
            child,
            folder,
        })
    }

    /// Waits until its port listens in the host.
    pub(super) fn wait_until_listening(
        &self,
        host: &HostNamespace,
        timeout: Duration,
    ) -> Result<(), WorldError> {
        let (port, pid) = (self.port, self.child.id());
        let deadline = Instant::now() + timeout;
        let listening = host
            .run(move || {
                loop {
                    let sockets = tcp_sockets()?;
                    if sockets
                        .iter()
                        .any(|one| one.local_port == port && one.state == State::LISTEN)
                    {
                        return Ok::<_, std::io::Error>(true);
                    }
                    if Instant::now() > deadline || has_ended(pid) {
                        return Ok(false);
                    }
                    std::thread::sleep(Duration::from_millis(10));
                }
            })
            .and_then(|result| result)
            .map_err(WorldError::doing(format!("waiting for {}", self.name)))?;
        if listening {
            return Ok(());
        }
        let output = command::read_bounded(&self.folder.join("output"));
        Err(WorldError(format!(
            "{} does not listen on port {port}; it printed:\n{output}",
            self.name
        )))
    }
}

impl Drop for RunningProgram {
    fn drop(&mut self) {
        // It may have ended by itself; nothing is left to do then.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child that has ended stays a zombie until it is waited for; `Child::try_wait` would need it mutable.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The state follows the name, which is in parentheses and may contain anything.
    stat.rsplit_once(')')
        .is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// Options that keep a server small and its files in one folder.
const MARIADB_SMALL: &str = "--innodb-log-file-size=4M --innodb-buffer-pool-size=8M";

/// Makes the system tables.
fn install_mariadb(data: &Path) -> Result<PathBuf, String> {
    let text = format!(
        "mariadb-install-db --no-defaults --datadir={} --user=root --skip-test-db --auth-root-authentication-method=normal {MARIADB_SMALL}",
        data.display()
    );
    let parent = data.parent().unwrap_or(data);
    let mut install = command::prepare(&text, parent).map_err(|error| error.to_string())?;
    let output = install
        .stdin(Stdio::null())
        .output()
        .map_err(|error| command::start_error(&text, &error).to_string())?;
    if output.status.success() {
        return Ok(data.to_owned());
    }
    Err(format!(
        "{text}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    ))
}

fn mariadb(template: &Path, folder: &Path, port: u16) -> Result<String, WorldError> {
    let data = folder.join("data");
    let copied = Command::new("cp")
        .arg("-r")
        .arg(template)
        .arg(&data)
        .status()
        .map_err(WorldError::doing("copying MariaDB's data folder"))?;
    if !copied.success() {
        return Err(WorldError(format!(
            "copying MariaDB's data folder: {copied}"
        )));
    }
    // A path of a Unix socket ends at 107 bytes: name it relative to the working folder, which is `folder`.
    Ok(format!(
        "mariadbd --no-defaults --datadir={} --user=root --socket=socket --pid-file=pid --port={port} --bind-address=* \
         --skip-name-resolve --skip-grant-tables --skip-networking=0 --performance-schema=OFF --key-buffer-size=1M --max-connections=10 \
         --skip-log-bin --aria-pagecache-buffer-size=1M --innodb-flush-method=nosync --innodb-use-native-aio=0 {MARIADB_SMALL}",
        data.display()
    ))
}

fn nginx(folder: &Path, port: u16) -> Result<String, WorldError> {
    let shown = folder.display();
    let configuration = format!(
        "daemon off;
master_process off;
user root;
pid {shown}/pid;
error_log {shown}/error.log;
events {{ worker_connections 64; }}
http {{
    access_log {shown}/access.log combined;
    keepalive_timeout 0;
    client_body_temp_path {shown}/t1;
    proxy_temp_path {shown}/t2;
    fastcgi_temp_path {shown}/t3;
    uwsgi_temp_path {shown}/t4;
    scgi_temp_path {shown}/t5;
    server {{
        listen {port};
        listen [::]:{port};
        root {shown}/pages;
    }}
}}
"
    );
    let write = || {
        std::fs::create_dir(folder.join("pages"))?;
        std::fs::write(folder.join("pages/hello.html"), "<p>hello</p>\n")?;
        // The observation reads it from its size at the start: it must be there.
        File::create(folder.join("access.log"))?;
        std::fs::write(folder.join("nginx.conf"), configuration)
    };
    write().map_err(WorldError::doing("writing nginx's configuration"))?;
    Ok(format!(
        "nginx -p {shown} -e {shown}/error.log -c {shown}/nginx.conf"
    ))
}
