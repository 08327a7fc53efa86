//! Calls that take time: they hold their socket, and what they send leaves one by one.

use std::time::Duration;

use super::pair::*;
use transect_path::Timestamp;

const CALL: Duration = Duration::from_micros(40);

fn after(pair: &Pair, time: Duration) -> Timestamp {
    Timestamp(pair.now.0 + time.as_nanos() as u64)
}

#[test]
fn a_call_lasts_until_everything_that_it_sent_is_answered() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    pair.hosts[CLIENT].set_call_time(CALL);
    let now = pair.now;
    assert_eq!(pair.hosts[CLIENT].call_until(now, client), None);
    // The initial window lets two packets of five segments go; the third waits for the acknowledgement of the first.
    let written = pair.hosts[CLIENT].write(now, client, &[b'x'; 16_384]);
    assert_eq!(written, Ok(16_384));
    let mut late = Vec::new();
    while let Some((_, mut packet)) = pair.hosts[CLIENT].poll_transmit() {
        late.push((packet.frame().len(), packet.take_lateness().as_micros()));
        assert_eq!(packet.take_lateness(), Duration::ZERO);
        pair.hosts[SERVER].handle_frame(now, ETH0, packet);
    }
    assert_eq!(late, [(7306, 0), (7306, 15)]);
    let end = after(&pair, CALL);
    assert_eq!(pair.hosts[CLIENT].call_until(now, client), Some(end));
    while let Some((_, packet)) = pair.hosts[SERVER].poll_transmit() {
        pair.hosts[CLIENT].handle_frame(now, ETH0, packet);
    }
    // The acknowledgements wait, and make it send the rest when it is over: so it goes on.
    assert!(pair.hosts[CLIENT].poll_transmit().is_none());
    pair.now = end;
    pair.hosts[CLIENT].handle_timeout(end);
    let (_, packet) = pair.hosts[CLIENT].poll_transmit().unwrap();
    pair.hosts[SERVER].handle_frame(end, ETH0, packet);
    let second = after(&pair, CALL);
    assert_eq!(pair.hosts[CLIENT].call_until(end, client), Some(second));
    // That is answered without anything more to be sent.
    pair.now = second;
    pair.hosts[CLIENT].handle_timeout(second);
    assert_eq!(pair.hosts[CLIENT].call_until(second, client), None);
    assert!(pair.hosts[CLIENT].poll_transmit().is_none());
    assert_eq!(
        pair.read(SERVER, server).map(|bytes| bytes.len()),
        Ok(16_384)
    );
    // The round trip ended with the acknowledgement's arrival, at once, however long the call went on: one sample of 0 behind that
    // of the handshake, 40.
    let info = pair.hosts[CLIENT].tcp_info(client).unwrap();
    assert_eq!(info.rtt, 35);
}

#[test]
fn without_a_time_calls_are_over_at_once() {
    let mut pair = Pair::new();
    let (client, _) = pair.connected();
    let now = pair.now;
    let host = &mut pair.hosts[CLIENT];
    assert_eq!(host.write(now, client, &[b'x'; 14_480]), Ok(14_480));
    assert_eq!(host.call_until(now, client), None);
    while let Some((_, mut packet)) = host.poll_transmit() {
        assert_eq!(packet.take_lateness(), Duration::ZERO);
    }
}
