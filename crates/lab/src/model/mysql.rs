//! A server that greets as MySQL and MariaDB do, and a client: the connection phase, one query, goodbye (the client/server
//! protocol of MySQL 4.1 and later). Packets are as long as those of the programs that the kernel world runs.

use std::time::Duration;

use transect_config::IpVersion;
use transect_host::{SocketAddress, SocketKind, SocketOption};

use super::command::Ended;
use super::service::{Service, TcpPlan, any};
use super::socket::{CallError, Socket, Sockets};
use super::wire::later;
use crate::error::WorldError;

/// As long as the version that the kernel world's server gives.
const VERSION: &str = "5.5.5-10.11.0-MariaDB-0+transect";
/// `IPTOS_THROUGHPUT`, which the server and the client set on their IPv4 connections.
const THROUGHPUT: u8 = 8;
/// From accept() to the greeting: the server starts a thread for each connection.
const GREETING: Duration = Duration::from_micros(400);
/// A query's way through the server, about.
const QUERY: Duration = Duration::from_micros(300);
/// The client's own work before it answers the greeting, before it asks, and from its goodbye to close(), which comes before the
/// server has even seen the goodbye.
const LOGIN: Duration = Duration::from_micros(100);
const PREPARING: Duration = Duration::from_millis(3);
const CLOSING: Duration = Duration::from_micros(10);
/// The longest packet that is taken.
const LONGEST: usize = 1 << 16;

const COM_QUIT: u8 = 1;
const COM_QUERY: u8 = 3;

/// Starts the server on all addresses of both families, through a socket for each as the real one does.
pub(super) fn serve(sockets: &Sockets, name: &str, port: u16) -> Result<[Service; 2], WorldError> {
    let of = |version| {
        let plan = TcpPlan {
            name: Some(name.to_owned()),
            address: any(version),
            port,
            backlog: 52,
            receive_buffer: None,
            v6_only: version == IpVersion::V6,
            filter: None,
            accepts: true,
        };
        Service::tcp(sockets, &plan, |connection, _| async move {
            let served = session(&connection).await;
            connection.close()?;
            served
        })
    };
    Ok([of(IpVersion::V4)?, of(IpVersion::V6)?])
}

/// One connection, from the greeting to the goodbye.
pub(super) async fn session(connection: &Socket) -> Result<(), CallError> {
    prepare(connection)?;
    connection.clock().sleep(GREETING).await;
    write(connection, 0, &greeting()).await?;
    let (number, _login) = read(connection, None).await?;
    write(connection, number.wrapping_add(1), &[0, 0, 0, 2, 0, 0, 0]).await?;
    loop {
        let (number, packet) = read(connection, None).await?;
        match packet.split_first() {
            Some((&COM_QUIT, _)) => return Ok(()),
            Some((&COM_QUERY, query)) => {
                connection.clock().sleep(QUERY).await;
                let answer = result_set(&String::from_utf8_lossy(query), number.wrapping_add(1));
                connection.write_all(&answer, None).await?;
            }
            _ => {
                write(
                    connection,
                    number.wrapping_add(1),
                    &error("Unknown command"),
                )
                .await?
            }
        }
    }
}

/// What both sides set on a connection.
fn prepare(connection: &Socket) -> Result<(), CallError> {
    let of_v4 = connection
        .local_address()?
        .is_some_and(|own| own.address.to_canonical().is_ipv4());
    if of_v4 {
        connection.set(SocketOption::Tos(THROUGHPUT))?;
    }
    connection.set(SocketOption::NoDelay(true))?;
    connection.set(SocketOption::KeepAlive(true))
}

/// Protocol::HandshakeV10.
fn greeting() -> Vec<u8> {
    let mut packet = vec![10];
    packet.extend(VERSION.as_bytes());
    packet.push(0);
    // The connection's number; the first part of the challenge, which no password answers here.
    packet.extend(3_u32.to_le_bytes());
    packet.extend(b"transect\0");
    // Capabilities, character set, status, upper capabilities, length of the challenge.
    packet.extend([0xfe, 0xf7, 0x08, 0x02, 0x00, 0xff, 0x81, 0x15]);
    packet.extend([0; 6]);
    packet.extend(29_u32.to_le_bytes());
    packet.extend(b"model world!\0");
    packet.extend(b"mysql_native_password\0");
    packet
}

/// Protocol::HandshakeResponse41 without a password, with the attributes that the real client sends.
fn login(host: &str) -> Vec<u8> {
    // Capabilities, the longest packet (1 MiB), the character set.
    let mut packet = vec![0x84, 0xa2, 0xbf, 0x00, 0, 0, 0x10, 0, 8];
    packet.extend([0; 19]);
    packet.extend(29_u32.to_le_bytes());
    packet.extend(b"root\0\0mysql_native_password\0");
    let mut attributes = Vec::new();
    for (name, value) in [
        ("_os", "Linux"),
        ("_client_name", "libmariadb"),
        ("_pid", "10000"),
        ("_client_version", "3.3.20"),
        ("_platform", "x86_64"),
        ("program_name", "mysql"),
        ("_server_host", host),
    ] {
        for text in [name, value] {
            attributes.push(u8::try_from(text.len()).unwrap_or(u8::MAX));
            attributes.extend(text.bytes().take(usize::from(u8::MAX)));
        }
    }
    packet.push(u8::try_from(attributes.len()).unwrap_or(u8::MAX));
    packet.extend(attributes);
    packet
}

/// ProtocolText::Resultset of one column and one row for `select NUMBER`; else an error.
fn result_set(query: &str, number: u8) -> Vec<u8> {
    let value = query
        .trim()
        .strip_prefix("select ")
        .map(str::trim)
        .filter(|value| !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit()));
    let Some(value) = value else {
        return framed(number, &error("You have an error in your SQL syntax"));
    };
    let text = |text: &str| {
        let mut bytes = vec![u8::try_from(text.len()).unwrap_or(u8::MAX)];
        bytes.extend(text.bytes().take(usize::from(u8::MAX)));
        bytes
    };
    let mut column = text("def");
    column.extend([0, 0, 0]);
    column.extend(text(value));
    // No name in a table, no extended metadata; the numbers' character set.
    column.extend([0, 0, 0x0c, 0x3f, 0]);
    column.extend(u32::try_from(value.len()).unwrap_or(u32::MAX).to_le_bytes());
    column.extend([3, 0x81, 0, 0, 0, 0]);
    let end = [0xfe, 0, 0, 2, 0];
    // One column, and its description follows.
    let packets: [&[u8]; 5] = [&[1, 1], &column, &end, &text(value), &end];
    packets
        .iter()
        .zip(number..)
        .flat_map(|(packet, number)| framed(number, packet))
        .collect()
}

/// ERR_Packet.
fn error(text: &str) -> Vec<u8> {
    let mut packet = vec![0xff, 0x28, 0x04];
    packet.extend(b"#42000");
    packet.extend(text.bytes());
    packet
}

fn framed(number: u8, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX);
    let mut packet = length.to_le_bytes().to_vec();
    packet.truncate(3);
    packet.push(number);
    packet.extend(payload);
    packet
}

async fn write(connection: &Socket, number: u8, payload: &[u8]) -> Result<(), CallError> {
    connection.write_all(&framed(number, payload), None).await
}

/// A packet, and its number.
async fn read(
    connection: &Socket,
    deadline: Option<transect_path::Timestamp>,
) -> Result<(u8, Vec<u8>), CallError> {
    let head = connection.read_exact(4, deadline).await?;
    let [low, middle, high, number] = head.as_slice() else {
        return Err(WorldError::new("a packet without its head").into());
    };
    let length = u32::from_le_bytes([*low, *middle, *high, 0]);
    let length = usize::try_from(length)
        .ok()
        .filter(|length| *length <= LONGEST)
        .ok_or_else(|| WorldError::new("a packet that is too long"))?;
    Ok((*number, connection.read_exact(length, deadline).await?))
}

/// The `mariadb` program: connects, logs in, runs one statement, says goodbye.
pub(super) async fn client(sockets: &Sockets, words: &[String]) -> Result<Ended, WorldError> {
    let plan = ClientPlan::parse(words)?;
    let failed = |what: String| Ended {
        status: 1,
        output: format!("ERROR {what}\n"),
    };
    let to = SocketAddress::new(plan.host, plan.port);
    let opened = sockets.open(SocketKind::Tcp, IpVersion::of(plan.host));
    let socket = opened.map_err(|error| error.doing("opening a socket"))?;
    let deadline = Some(later(sockets.clock.now(), plan.connect_timeout));
    let outcome = match socket.connect(to, deadline).await {
        Ok(()) => converse(&socket, &plan).await,
        Err(error) => Err(error),
    };
    socket.close()?;
    match outcome {
        Ok(()) => Ok(Ended {
            status: 0,
            output: String::new(),
        }),
        Err(CallError::Errno(errno)) => Ok(failed(format!(
            "2002 (HY000): Can't connect to server on '{}' ({errno})",
            plan.host
        ))),
        Err(CallError::World(error)) => Ok(failed(format!("2013 (HY000): {error}"))),
    }
}

async fn converse(socket: &Socket, plan: &ClientPlan) -> Result<(), CallError> {
    prepare(socket)?;
    let deadline = socket.within(plan.connect_timeout);
    let (number, _greeting) = read(socket, deadline).await?;
    socket.clock().sleep(LOGIN).await;
    let host = plan.host.to_string();
    write(socket, number.wrapping_add(1), &login(&host)).await?;
    read(socket, deadline).await?;
    socket.clock().sleep(PREPARING).await;
    if let Some(statement) = &plan.statement {
        let query = [&[COM_QUERY], statement.as_bytes()].concat();
        write(socket, 0, &query).await?;
        // Column count, column, end, row, end; or an error.
        for _ in 0..5 {
            let (_, packet) = read(socket, None).await?;
            if packet.first() == Some(&0xff) {
                let text = String::from_utf8_lossy(packet.get(9..).unwrap_or_default());
                return Err(WorldError(text.into_owned()).into());
            }
        }
    }
    write(socket, 0, &[COM_QUIT]).await?;
    socket.clock().sleep(CLOSING).await;
    Ok(())
}

/// What the client was told.
#[derive(Debug, PartialEq, Eq)]
struct ClientPlan {
    host: std::net::IpAddr,
    port: u16,
    connect_timeout: Duration,
    statement: Option<String>,
}

impl ClientPlan {
    fn parse(words: &[String]) -> Result<Self, WorldError> {
        let option = |name: &str| {
            let mut all = words.iter();
            all.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        };
        let host = option("--host").ok_or_else(|| WorldError::new("mariadb: no --host="))?;
        let number = |name: &str, default: u64| match option(name) {
            None => Ok(default),
            Some(text) => text
                .parse::<u64>()
                .map_err(WorldError::doing(format!("mariadb: {name}={text}"))),
        };
        Ok(ClientPlan {
            host: host
                .parse()
                .map_err(WorldError::doing(format!("mariadb: --host={host}")))?,
            port: u16::try_from(number("--port", 3306)?)
                .map_err(WorldError::doing("mariadb: --port"))?,
            // The client gives up after ten seconds unless it is told otherwise.
            connect_timeout: Duration::from_secs(number("--connect-timeout", 10)?),
            statement: option("--execute").map(str::to_owned),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_as_long_as_those_of_the_real_programs() {
        // Measured with MariaDB 10.11.19 on both sides: payload bytes of the segments.
        assert_eq!(framed(0, &greeting()).len(), 104);
        assert_eq!(framed(1, &login("172.17.0.3")).len(), 193);
        assert_eq!(result_set("select 1", 1).len(), 58);
        assert_eq!(
            result_set("select 1", 1).get(..5),
            Some(&[2, 0, 0, 1, 1][..])
        );
        assert!(result_set("drop table x", 1).contains(&0xff));
    }

    #[test]
    fn the_clients_words() {
        let words = |text: &str| crate::words::split(text).unwrap();
        let plan = ClientPlan::parse(&words(
            "mariadb --no-defaults --host=fd17::3 --port=3307 --connect-timeout=5 --execute='select 1'",
        ))
        .unwrap();
        assert_eq!(plan.port, 3307);
        assert_eq!(plan.connect_timeout, Duration::from_secs(5));
        assert_eq!(plan.statement.as_deref(), Some("select 1"));
        assert!(ClientPlan::parse(&words("mariadb --port=1")).is_err());
    }
}
