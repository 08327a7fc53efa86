//! Opening connections.

use super::pair::*;

use std::time::Duration;

#[test]
fn request_and_answer_as_tcpdump_shows_them() {
    let mut pair = Pair::new();
    let (client, server) = pair.connected();
    assert_eq!(pair.write(CLIENT, client, &[b'x'; 90]), Ok(90));
    pair.run_for(Duration::from_millis(50));
    assert_eq!(pair.read(SERVER, server).map(|bytes| bytes.len()), Ok(90));
    assert_eq!(pair.write(SERVER, server, &[b'y'; 300]), Ok(300));
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.read(CLIENT, client).map(|bytes| bytes.len()), Ok(300));
    assert_eq!(pair.write(CLIENT, client, &[b'x'; 90]), Ok(90));
    pair.run_for(Duration::from_millis(300));
    assert_eq!(pair.read(SERVER, server).map(|bytes| bytes.len()), Ok(90));
    pair.close(CLIENT, client);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(pair.read(SERVER, server), Ok(vec![]));
    pair.close(SERVER, server);
    pair.run_for(Duration::from_millis(100));
    assert_eq!(
        pair.without_windows(),
        [
            "C S 0",
            "S S. 0 ack 1",
            "C . 1 ack 1",
            "C P. 1:91 ack 1",
            "S . 1 ack 91",
            "S P. 1:301 ack 91",
            "C . 91 ack 301",
            "C P. 91:181 ack 301",
            "S . 301 ack 181",
            "C F. 181 ack 301",
            "S . 301 ack 182",
            "S F. 301 ack 182",
            "C . 182 ack 302",
        ]
    );
    // The FIN's ACK was delayed, by 40 ms.
    let fin = pair.times(|line| line.contains("C F."))[0];
    let ack = pair.times(|line| line.ends_with("S . 301 ack 182 win 64"))[0];
    assert!((40.0..48.0).contains(&(ack - fin)), "{}", ack - fin);
    let names = [
        "TcpActiveOpens",
        "TcpPassiveOpens",
        "TcpOutSegs",
        "TcpCurrEstab",
        "TcpRetransSegs",
        "TcpInErrs",
        "TcpOutRsts",
        "TcpExtTW",
        "TcpExtDelayedACKs",
        "TcpExtTCPOrigDataSent",
        "TcpExtTCPDelivered",
        "TcpExtTCPLossProbes",
    ];
    let expected = |list: &[(&str, u64)]| -> Vec<(String, u64)> {
        list.iter()
            .map(|(name, value)| ((*name).to_owned(), *value))
            .collect()
    };
    assert_eq!(
        pair.moved(CLIENT, &names),
        expected(&[
            ("TcpActiveOpens", 1),
            ("TcpOutSegs", 7),
            ("TcpExtTW", 1),
            ("TcpExtTCPOrigDataSent", 3),
            ("TcpExtTCPDelivered", 4),
        ])
    );
    assert_eq!(
        pair.moved(SERVER, &names),
        expected(&[
            ("TcpPassiveOpens", 1),
            ("TcpOutSegs", 6),
            ("TcpExtDelayedACKs", 1),
            ("TcpExtTCPOrigDataSent", 2),
            ("TcpExtTCPDelivered", 2),
        ])
    );
}
