//! Clients: what is done once, or so many times, and then is over.

use std::cell::RefCell;
use std::fs::File;
use std::io::{Read as _, Write};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use serde::Serialize;
use transect_config::IpVersion;
use transect_host::{Shutdown, SocketAddress, SocketKind};

use super::iperf::{self, Measurement};
use super::web::{self, Url};
use crate::error::WorldError;
use crate::model::client::parse_address;
use crate::model::mysql;
use crate::model::socket::{CallError, Socket, Sockets};

/// Bytes read or written at once.
const CHUNK: usize = 64 * 1024;

/// What a client does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrandPlan {
    /// Fetches a page by HTTP.
    Fetch {
        /// `http://ADDRESS[:PORT]/PATH`.
        url: String,
        /// Where to write the body; it is only counted where nothing is said.
        output: Option<PathBuf>,
        /// How many times, one behind the other, each over a connection of its own.
        times: u32,
    },
    /// Sends a file over a TCP connection, closes its side, and takes what comes back.
    Send {
        /// `ADDRESS:PORT`.
        to: String,
        /// The file.
        file: PathBuf,
        /// Where to write what comes back; it is only counted where nothing is said.
        output: Option<PathBuf>,
    },
    /// Measures with an iperf3 server, over one TCP stream.
    Iperf3 {
        /// `ADDRESS:PORT`.
        to: String,
        /// The server sends.
        reverse: bool,
        /// How long.
        seconds: u32,
    },
    /// Logs in at a MySQL or MariaDB server as root without a password, and runs a statement.
    Mysql {
        /// `ADDRESS:PORT`.
        to: String,
        /// The statement: `select NUMBER`.
        statement: String,
    },
}

/// What became of a client.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct ErrandReport {
    /// What it was to do.
    pub errand: String,
    /// Whether it did.
    pub done: bool,
    /// Why not; null when it did, or is at it still.
    pub error: Option<String>,
    /// Connections that it opened.
    pub connections: u64,
    /// Bytes of the body sent.
    pub sent: u64,
    /// Bytes of the body received.
    pub received: u64,
    /// How long it took.
    pub seconds: f64,
}

/// A client that runs.
#[derive(Clone)]
pub(super) struct Errand {
    plan: ErrandPlan,
    state: Rc<RefCell<(bool, ErrandReport)>>,
}

impl Errand {
    pub(super) fn new(plan: ErrandPlan) -> Self {
        let errand = match &plan {
            ErrandPlan::Fetch { url, .. } => format!("fetch {url}"),
            ErrandPlan::Send { to, file, .. } => format!("send {to} {}", file.display()),
            ErrandPlan::Iperf3 { to, reverse, .. } => {
                format!("iperf3 {to}{}", if *reverse { " reverse" } else { "" })
            }
            ErrandPlan::Mysql { to, statement } => format!("mysql {to} {statement}"),
        };
        let report = ErrandReport {
            errand,
            ..ErrandReport::default()
        };
        Errand {
            plan,
            state: Rc::new(RefCell::new((false, report))),
        }
    }

    /// Whether it has ended, well or not.
    pub(super) fn is_done(&self) -> bool {
        self.state.borrow().0
    }

    pub(super) fn report(&self) -> ErrandReport {
        self.state.borrow().1.clone()
    }

    pub(super) async fn run(self, sockets: Sockets) {
        let began = sockets.clock.now();
        let result = match &self.plan {
            ErrandPlan::Fetch { url, output, times } => {
                self.fetch(&sockets, url, output.as_deref(), *times).await
            }
            ErrandPlan::Send { to, file, output } => {
                self.send(&sockets, to, file, output.as_deref()).await
            }
            ErrandPlan::Iperf3 {
                to,
                reverse,
                seconds,
            } => self.measure(&sockets, to, *reverse, *seconds).await,
            ErrandPlan::Mysql { to, statement } => self.query(&sockets, to, statement).await,
        };
        let mut state = self.state.borrow_mut();
        state.0 = true;
        state.1.seconds = sockets.clock.now().since(began).as_secs_f64();
        state.1.done = result.is_ok();
        state.1.error = result.err().map(|error| error.0);
    }

    async fn fetch(
        &self,
        sockets: &Sockets,
        url: &str,
        output: Option<&Path>,
        times: u32,
    ) -> Result<(), WorldError> {
        let url = Url::parse(url).map_err(WorldError)?;
        for number in 1..=times {
            let mut sink = sink(output)?;
            let fetched = async {
                let connection = self.connect(sockets, url.server).await?;
                let fetched = web::fetch(&connection, &url, &mut sink).await;
                connection.close()?;
                fetched
            };
            let bytes = fetched.await.map_err(|error| match times {
                1 => error.doing("fetching"),
                _ => error.doing(&format!("fetching, connection {number} of {times}")),
            })?;
            let mut state = self.state.borrow_mut();
            state.1.received = state.1.received.saturating_add(bytes);
            finish(sink)?;
        }
        Ok(())
    }

    async fn send(
        &self,
        sockets: &Sockets,
        to: &str,
        file: &Path,
        output: Option<&Path>,
    ) -> Result<(), WorldError> {
        let server = parse_address(to)?;
        let mut source =
            File::open(file).map_err(WorldError::doing(format!("opening {}", file.display())))?;
        let mut sink = sink(output)?;
        let connection = self
            .connect(sockets, server)
            .await
            .map_err(|error| error.doing("connecting"))?;
        let receiving = sockets.clock.start({
            let (errand, connection) = (self.clone(), connection.clone());
            async move {
                let received = errand.receive(&connection, &mut sink).await;
                received.and_then(|()| finish(sink))
            }
        });
        let sent = self.send_all(&connection, &mut source).await;
        // What came back may say why sending failed; but the error of sending is the first.
        let received = match sent {
            Ok(()) => receiving.ended().await,
            Err(_) => Ok(()),
        };
        connection.close()?;
        sent.map_err(|error| error.doing("sending")).and(received)
    }

    async fn send_all(&self, connection: &Socket, source: &mut File) -> Result<(), CallError> {
        let mut buffer = vec![0; CHUNK];
        loop {
            let count = source
                .read(&mut buffer)
                .map_err(WorldError::doing("reading the file"))?;
            if count == 0 {
                return connection.shutdown(Shutdown::Write);
            }
            let bytes = buffer.get(..count).unwrap_or_default();
            connection.write_all(bytes, None).await?;
            let mut state = self.state.borrow_mut();
            state.1.sent = state.1.sent.saturating_add(count as u64);
        }
    }

    async fn receive(&self, connection: &Socket, sink: &mut dyn Write) -> Result<(), WorldError> {
        loop {
            let bytes = connection.read(CHUNK, None).await;
            let bytes = bytes.map_err(|error| error.doing("receiving"))?;
            if bytes.is_empty() {
                return Ok(());
            }
            sink.write_all(&bytes)
                .map_err(WorldError::doing("writing what was received"))?;
            let mut state = self.state.borrow_mut();
            state.1.received = state.1.received.saturating_add(bytes.len() as u64);
        }
    }

    async fn measure(
        &self,
        sockets: &Sockets,
        to: &str,
        reverse: bool,
        seconds: u32,
    ) -> Result<(), WorldError> {
        let plan = Measurement {
            server: parse_address(to)?,
            reverse,
            seconds,
        };
        let measured = iperf::measure(self, sockets, plan).await;
        let (sent, received) = measured.map_err(|error| error.doing("measuring"))?;
        let mut state = self.state.borrow_mut();
        (state.1.sent, state.1.received) = (sent, received);
        Ok(())
    }

    async fn query(&self, sockets: &Sockets, to: &str, statement: &str) -> Result<(), WorldError> {
        let server = parse_address(to)?;
        self.state.borrow_mut().1.connections += 1;
        let words = [
            format!("--host={}", server.address),
            format!("--port={}", server.port),
            format!("--execute={statement}"),
        ];
        let ended = mysql::client(sockets, &words).await?;
        match ended.status {
            0 => Ok(()),
            _ => Err(WorldError(ended.output.trim().to_owned())),
        }
    }

    pub(super) async fn connect(
        &self,
        sockets: &Sockets,
        to: SocketAddress,
    ) -> Result<Socket, CallError> {
        let socket = sockets.open(SocketKind::Tcp, IpVersion::of(to.address))?;
        self.state.borrow_mut().1.connections += 1;
        match socket.connect(to, None).await {
            Ok(()) => Ok(socket),
            Err(error) => {
                socket.close()?;
                Err(error)
            }
        }
    }
}

fn sink(output: Option<&Path>) -> Result<Box<dyn Write>, WorldError> {
    let Some(path) = output else {
        return Ok(Box::new(std::io::sink()));
    };
    let file =
        File::create(path).map_err(WorldError::doing(format!("writing {}", path.display())))?;
    Ok(Box::new(std::io::BufWriter::new(file)))
}

fn finish(mut sink: Box<dyn Write>) -> Result<(), WorldError> {
    sink.flush()
        .map_err(WorldError::doing("writing what was received"))
}
