//! iperf3 over TCP, as the program of that name speaks it (versions 3.1 and later): a control connection on which client and
//! server tell each other states (one byte) and JSON with its length before it, and the test's streams beside it.

use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use transect_host::SocketAddress;
use transect_path::Timestamp;

use super::errand::Errand;
use super::service::Counts;
use crate::error::WorldError;
use crate::model::socket::{CallError, Socket, Sockets};

/// Every connection of a test begins with it: 36 characters and a zero.
const COOKIE: usize = 37;
/// The longest JSON that is taken.
const LONGEST: usize = 1 << 16;
/// Streams at once: iperf3's own limit.
const MOST_STREAMS: u32 = 128;
/// Bytes in a block: iperf3's default for TCP, and the most that it allows.
const BLOCK: usize = 128 * 1024;
const LONGEST_BLOCK: usize = 1 << 20;
/// How long the other side may take for a step of the control connection.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often is looked whether the other side's streams are there.
const LOOK: Duration = Duration::from_millis(1);

/// States of the control connection (iperf_api.h).
mod state {
    pub(super) const TEST_START: u8 = 1;
    pub(super) const TEST_RUNNING: u8 = 2;
    pub(super) const TEST_END: u8 = 4;
    pub(super) const PARAM_EXCHANGE: u8 = 9;
    pub(super) const CREATE_STREAMS: u8 = 10;
    pub(super) const SERVER_TERMINATE: u8 = 11;
    pub(super) const EXCHANGE_RESULTS: u8 = 13;
    pub(super) const DISPLAY_RESULTS: u8 = 14;
    pub(super) const IPERF_DONE: u8 = 16;
    pub(super) const ACCESS_DENIED: u8 = 0xff;
    pub(super) const SERVER_ERROR: u8 = 0xfe;
}

/// `IEUNIMP`: an option that is not implemented.
const NOT_IMPLEMENTED: u32 = 13;

/// What a client asks for.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Parameters {
    tcp: bool,
    #[serde(skip_serializing)]
    bidirectional: bool,
    omit: u32,
    time: u32,
    parallel: u32,
    #[serde(skip_serializing_if = "is_false")]
    reverse: bool,
    len: usize,
    pacing_timer: u32,
    client_version: String,
}

impl Default for Parameters {
    fn default() -> Self {
        Parameters {
            tcp: false,
            bidirectional: false,
            omit: 0,
            time: 10,
            parallel: 1,
            reverse: false,
            len: BLOCK,
            pacing_timer: 1000,
            client_version: "3.12".to_owned(),
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde wants it so")]
fn is_false(value: &bool) -> bool {
    !value
}

/// What each side tells the other at the end.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct Results {
    cpu_util_total: f64,
    cpu_util_user: f64,
    cpu_util_system: f64,
    sender_has_retransmits: i64,
    streams: Vec<StreamResult>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize)]
struct StreamResult {
    id: u32,
    bytes: u64,
    retransmits: i64,
    jitter: f64,
    errors: i64,
    packets: i64,
    start_time: f64,
    end_time: f64,
}

/// A stream, and what it carried.
#[derive(Clone)]
struct Stream {
    socket: Socket,
    bytes: Rc<Cell<u64>>,
}

impl Stream {
    fn new(socket: Socket) -> Self {
        Stream {
            socket,
            bytes: Rc::default(),
        }
    }

    fn carried(&self, bytes: usize) {
        self.bytes
            .set(self.bytes.get().saturating_add(bytes as u64));
    }

    /// Reads until the peer closes or the test is over.
    async fn receive(&self, over: &Cell<bool>) -> Result<(), CallError> {
        loop {
            match self.socket.read(BLOCK, None).await {
                Ok(bytes) if bytes.is_empty() => return Ok(()),
                Ok(bytes) => self.carried(bytes.len()),
                Err(_) if over.get() => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }

    /// Writes until the test is over.
    async fn send(&self, block: usize, over: &Cell<bool>) -> Result<(), CallError> {
        let block = vec![0; block.clamp(1, LONGEST_BLOCK)];
        while !over.get() {
            match self.socket.write(&block, None).await {
                Ok(count) => self.carried(count),
                Err(_) if over.get() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// What is read of the other side's results; a number of retransmissions that nobody knows comes as -1 or as 2^64 - 1.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct TheirResults {
    streams: Vec<Carried>,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Carried {
    bytes: u64,
}

/// The results of streams, numbered as iperf3 does it: 1, 3, 4, 5 and so on.
fn results(streams: &[Stream], sends: bool, seconds: f64) -> Result<Results, WorldError> {
    let numbers = std::iter::once(1).chain(3..);
    let streams = streams.iter().zip(numbers).map(|(stream, id)| {
        let retransmits = match stream.socket.retransmissions()? {
            Some(count) if sends => i64::from(count),
            _ => -1,
        };
        Ok(StreamResult {
            id,
            bytes: stream.bytes.get(),
            retransmits,
            end_time: seconds,
            ..StreamResult::default()
        })
    });
    Ok(Results {
        sender_has_retransmits: if sends { 1 } else { -1 },
        streams: streams.collect::<Result<_, WorldError>>()?,
        ..Results::default()
    })
}

/// The test that a server runs; there is one at a time.
#[derive(Clone, Default)]
pub(super) struct Server(Rc<RefCell<Option<Rc<Test>>>>);

struct Test {
    cookie: Vec<u8>,
    parameters: RefCell<Parameters>,
    streams: RefCell<Vec<Stream>>,
    running: Cell<bool>,
    over: Cell<bool>,
}

impl Server {
    /// One connection: a test's control connection, one of its streams, or somebody who has to wait.
    pub(super) async fn serve(
        &self,
        connection: &Socket,
        counts: &Counts,
    ) -> Result<(), CallError> {
        let deadline = connection.within(PATIENCE);
        let cookie = connection.read_exact(COOKIE, deadline).await?;
        let running = self.0.borrow().clone();
        match running {
            Some(test) if test.cookie == cookie => return test.stream(connection, counts).await,
            Some(_) => {
                return connection
                    .write_all(&[state::ACCESS_DENIED], deadline)
                    .await;
            }
            None => {}
        }
        let test = Rc::new(Test {
            cookie,
            parameters: RefCell::default(),
            streams: RefCell::default(),
            running: Cell::new(false),
            over: Cell::new(false),
        });
        *self.0.borrow_mut() = Some(Rc::clone(&test));
        let done = test.control(connection).await;
        *self.0.borrow_mut() = None;
        test.over.set(true);
        for stream in test.streams.take() {
            stream.socket.close()?;
        }
        done
    }
}

impl Test {
    async fn control(&self, connection: &Socket) -> Result<(), CallError> {
        let within = || connection.within(PATIENCE);
        tell(connection, state::PARAM_EXCHANGE).await?;
        let parameters: Parameters = receive_json(connection).await?;
        let possible = (1..=MOST_STREAMS).contains(&parameters.parallel);
        if !parameters.tcp || parameters.bidirectional || !possible {
            // Two numbers follow: iperf3's error, and errno.
            let refusal = [NOT_IMPLEMENTED.to_be_bytes(), [0; 4]].concat();
            tell(connection, state::SERVER_ERROR).await?;
            return connection.write_all(&refusal, within()).await;
        }
        let wanted = usize::try_from(parameters.parallel).unwrap_or(usize::MAX);
        let sends = parameters.reverse;
        *self.parameters.borrow_mut() = parameters;
        tell(connection, state::CREATE_STREAMS).await?;
        let deadline = within();
        while self.streams.borrow().len() < wanted {
            if Some(connection.clock().now()) >= deadline {
                return Err(WorldError::new("the client's streams did not come").into());
            }
            connection.clock().sleep(LOOK).await;
        }
        tell(connection, state::TEST_START).await?;
        tell(connection, state::TEST_RUNNING).await?;
        self.running.set(true);
        let began = connection.clock().now();
        let told = told(connection, None).await?;
        self.over.set(true);
        if told != state::TEST_END {
            return Err(ended_by(told));
        }
        let seconds = connection.clock().now().since(began).as_secs_f64();
        tell(connection, state::EXCHANGE_RESULTS).await?;
        let _: TheirResults = receive_json(connection).await?;
        let ours = results(&self.streams.borrow(), sends, seconds)?;
        send_json(connection, &ours).await?;
        tell(connection, state::DISPLAY_RESULTS).await?;
        // IPERF_DONE, or the connection's end.
        told_by(connection, within()).await.map(drop)
    }

    /// One of the streams, until the test is over.
    async fn stream(&self, connection: &Socket, counts: &Counts) -> Result<(), CallError> {
        let stream = Stream::new(connection.clone());
        self.streams.borrow_mut().push(stream.clone());
        let (sends, block) = {
            let parameters = self.parameters.borrow();
            (parameters.reverse, parameters.len)
        };
        let done = if sends {
            while !self.running.get() && !self.over.get() {
                connection.clock().sleep(LOOK).await;
            }
            stream.send(block, &self.over).await
        } else {
            stream.receive(&self.over).await
        };
        let carried = usize::try_from(stream.bytes.get()).unwrap_or(usize::MAX);
        if sends {
            counts.sent(carried);
        } else {
            counts.received(carried);
        }
        done
    }
}

/// A client's test.
#[derive(Debug, Clone, Copy)]
pub(super) struct Measurement {
    pub(super) server: SocketAddress,
    /// The server sends.
    pub(super) reverse: bool,
    pub(super) seconds: u32,
}

/// Runs a client's test with one stream; how many bytes its sender and its receiver counted.
pub(super) async fn measure(
    errand: &Errand,
    sockets: &Sockets,
    plan: Measurement,
) -> Result<(u64, u64), CallError> {
    let control = errand.connect(sockets, plan.server).await?;
    let mut stream = None;
    let over = Rc::new(Cell::new(false));
    let done = converse(errand, sockets, plan, &control, &mut stream, &over).await;
    over.set(true);
    if let Some(stream) = stream {
        stream.socket.close()?;
    }
    control.close()?;
    done
}

async fn converse(
    errand: &Errand,
    sockets: &Sockets,
    plan: Measurement,
    control: &Socket,
    stream: &mut Option<Stream>,
    over: &Rc<Cell<bool>>,
) -> Result<(u64, u64), CallError> {
    let cookie = cookie(control)?;
    control.write_all(&cookie, None).await?;
    let mut seconds = 0.0;
    let mut counted = (0, 0);
    loop {
        match told(control, None).await? {
            state::PARAM_EXCHANGE => {
                let parameters = Parameters {
                    tcp: true,
                    time: plan.seconds,
                    reverse: plan.reverse,
                    ..Parameters::default()
                };
                send_json(control, &parameters).await?;
            }
            state::CREATE_STREAMS => {
                let socket = errand.connect(sockets, plan.server).await?;
                socket.write_all(&cookie, None).await?;
                *stream = Some(Stream::new(socket));
            }
            state::TEST_RUNNING => {
                let Some(stream) = stream.clone() else {
                    return Err(WorldError::new("the server wanted no stream").into());
                };
                let began = sockets.clock.now();
                let carrying = sockets.clock.start({
                    let over = Rc::clone(over);
                    async move {
                        match plan.reverse {
                            true => stream.receive(&over).await,
                            false => stream.send(BLOCK, &over).await,
                        }
                    }
                });
                sockets
                    .clock
                    .sleep(Duration::from_secs(plan.seconds.into()))
                    .await;
                over.set(true);
                seconds = sockets.clock.now().since(began).as_secs_f64();
                tell(control, state::TEST_END).await?;
                // Its end tells of errors; a receiver ends when the server closes the stream.
                drop(carrying);
            }
            state::EXCHANGE_RESULTS => {
                let streams = stream.clone().into_iter().collect::<Vec<_>>();
                let ours = results(&streams, !plan.reverse, seconds)?;
                send_json(control, &ours).await?;
                let theirs: TheirResults = receive_json(control).await?;
                let ours = ours.streams.iter().map(|one| one.bytes).sum();
                let theirs = theirs.streams.iter().map(|one| one.bytes).sum();
                counted = match plan.reverse {
                    true => (theirs, ours),
                    false => (ours, theirs),
                };
            }
            state::DISPLAY_RESULTS => {
                tell(control, state::IPERF_DONE).await?;
                return Ok(counted);
            }
            state::TEST_START => {}
            other => return Err(ended_by(other)),
        }
    }
}

fn cookie(control: &Socket) -> Result<Vec<u8>, WorldError> {
    let port = control.local_address()?.map_or(0, |own| own.port);
    let mut cookie = format!("{port:0>width$}", width = COOKIE - 1).into_bytes();
    cookie.push(0);
    Ok(cookie)
}

fn ended_by(told: u8) -> CallError {
    WorldError::new(match told {
        state::ACCESS_DENIED => "the server is busy with another test",
        state::SERVER_TERMINATE => "the server has ended",
        state::SERVER_ERROR => "the server met with an error",
        _ => "the other side ended the test",
    })
    .into()
}

async fn tell(connection: &Socket, state: u8) -> Result<(), CallError> {
    let deadline = connection.within(PATIENCE);
    connection.write_all(&[state], deadline).await
}

/// The state that the other side tells.
async fn told(connection: &Socket, deadline: Option<Timestamp>) -> Result<u8, CallError> {
    let byte = told_by(connection, deadline).await?;
    byte.ok_or_else(|| WorldError::new("the other side closed the control connection").into())
}

/// The same, or the connection's end.
async fn told_by(
    connection: &Socket,
    deadline: Option<Timestamp>,
) -> Result<Option<u8>, CallError> {
    let bytes = connection.read(1, deadline).await?;
    Ok(bytes.first().copied())
}

async fn send_json(connection: &Socket, value: &impl Serialize) -> Result<(), CallError> {
    let text = serde_json::to_vec(value).map_err(WorldError::doing("writing iperf3's JSON"))?;
    let length = u32::try_from(text.len()).unwrap_or(u32::MAX).to_be_bytes();
    let bytes = [&length[..], &text].concat();
    connection
        .write_all(&bytes, connection.within(PATIENCE))
        .await
}

async fn receive_json<T: DeserializeOwned>(connection: &Socket) -> Result<T, CallError> {
    let deadline = connection.within(PATIENCE);
    let length = connection.read_exact(4, deadline).await?;
    let length = <[u8; 4]>::try_from(length).map_or(0, u32::from_be_bytes);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| WorldError::new("iperf3's JSON is too long"))?;
    let text = connection.read_exact(length, deadline).await?;
    let value =
        serde_json::from_slice(&text).map_err(WorldError::doing("reading iperf3's JSON"))?;
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_as_the_real_client_sends_them() {
        let text = r#"{"tcp":true,"omit":0,"time":3,"num":0,"blockcount":0,"parallel":2,"reverse":true,"len":131072,"pacing_timer":1000,"client_version":"3.12"}"#;
        let read: Parameters = serde_json::from_str(text).unwrap();
        assert_eq!(
            read,
            Parameters {
                tcp: true,
                time: 3,
                parallel: 2,
                reverse: true,
                ..Parameters::default()
            }
        );
        let written = serde_json::to_string(&Parameters {
            tcp: true,
            ..Parameters::default()
        });
        assert_eq!(
            written.unwrap(),
            r#"{"tcp":true,"omit":0,"time":10,"parallel":1,"len":131072,"pacing_timer":1000,"client_version":"3.12"}"#
        );
        // Nothing is asked for: not TCP either, which is refused.
        assert!(!serde_json::from_str::<Parameters>("{}").unwrap().tcp);
    }
}
