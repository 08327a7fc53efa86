//! The receive buffer by itself, with what the kernel showed for the same segments.

use super::super::testing::Bench;
use super::*;

const ISN: SequenceNumber = SequenceNumber(u32::MAX - 2000);

fn connected(bench: &mut Bench) -> ReceiveBuffer {
    let mut buffer = ReceiveBuffer::new(131_072);
    let context = bench.context();
    buffer.sack = true;
    buffer.header_length = 32;
    buffer.begin(ISN);
    buffer.select_initial_window(&context, 1448, true);
    buffer.establish(&context, 1448, 1448);
    buffer
}

/// A segment that begins so many bytes behind the SYN, each byte being its place's low byte.
fn segment(from: u32, data: &[u8]) -> Arrived<'_> {
    Arrived {
        seq: ISN + 1 + from,
        payload: data,
        syn: false,
        fin: false,
        psh: false,
        header_length: 32,
        truesize: OVERHEAD + data.len() as u32,
        gso_size: 0,
        segments: 1,
        shared_until: None,
        written: None,
        echo: None,
    }
}

fn stream(from: u32, length: u32) -> Vec<u8> {
    (from..from + length)
        .map(|place| (place % 251) as u8)
        .collect()
}

fn put(buffer: &mut ReceiveBuffer, bench: &mut Bench, from: u32, length: u32) -> Queued {
    let data = stream(from, length);
    buffer.queue(&mut bench.context(), &segment(from, &data))
}

fn read_all(buffer: &mut ReceiveBuffer, bench: &mut Bench) -> Vec<u8> {
    let mut into = vec![0; 1 << 20];
    let length = buffer.read(&mut bench.context(), &mut into);
    into.truncate(length);
    into
}

fn count(bench: &Bench, counter: TcpExtCounter) -> u64 {
    bench.counters.tcp_ext.of(counter)
}

#[test]
fn in_order_data_costs_what_the_kernel_shows_and_gives_it_back() {
    let mut bench = Bench::new();
    let mut buffer = connected(&mut bench);
    // ss on the kernel: 40750 bytes in many segments, skmem r41582: all in one sk_buff.
    for turn in 0..16 {
        let queued = put(&mut buffer, &mut bench, turn * 1448, 1448);
        assert_eq!((queued.received, queued.dropped), (1448, None));
    }
    assert_eq!(buffer.rmem_alloc, OVERHEAD + 16 * 1448);
    assert_eq!(count(&bench, TcpExtCounter::TCPRcvCoalesce), 15);
    assert_eq!(buffer.rcv_mss, 1448);
    assert_eq!(read_all(&mut buffer, &mut bench), stream(0, 16 * 1448));
    assert_eq!((buffer.rmem_alloc, buffer.readable()), (0, 0));
}

#[test]
fn a_gap_is_reported_and_filled() {
    let mut bench = Bench::new();
    let mut buffer = connected(&mut bench);
    put(&mut buffer, &mut bench, 0, 1000);
    let queued = put(&mut buffer, &mut bench, 2000, 1000);
    assert!(queued.out_of_order && queued.schedule_ack && queued.received == 0);
    put(&mut buffer, &mut bench, 3000, 1000);
    put(&mut buffer, &mut bench, 5000, 500);
    let (blocks, used) = buffer.sack_blocks(3);
    let base = ISN + 1;
    let block = |from, to| SackBlock {
        start: base + from,
        end: base + to,
    };
    assert_eq!(blocks[..used], [block(5000, 5500), block(2000, 4000)]);
    let queued = put(&mut buffer, &mut bench, 1000, 1000);
    assert_eq!(buffer.rcv_nxt, base + 4000);
    assert!(!queued.ack_now, "there is another gap");
    assert_eq!(buffer.sack_blocks(3).0[0], block(5000, 5500));
    let queued = put(&mut buffer, &mut bench, 4000, 1000);
    assert!(queued.ack_now && !buffer.has_gap());
    assert_eq!(buffer.sack_blocks(3).1, 0);
    assert_eq!(read_all(&mut buffer, &mut bench), stream(0, 5500));
    assert_eq!(count(&bench, TcpExtCounter::TCPOFOQueue), 3);
    assert_eq!(buffer.rmem_alloc, 0);
}

#[test]
fn what_was_here_before_is_told_as_duplicate() {
    let mut bench = Bench::new();
    let mut buffer = connected(&mut bench);
    put(&mut buffer, &mut bench, 0, 1000);
    let queued = put(&mut buffer, &mut bench, 200, 300);
    assert_eq!(queued.dropped, Some(DropReason::TcpOldData));
    assert!(queued.quick_ack);
    let block = buffer.sack_blocks(3).0[0];
    assert_eq!((block.start, block.end), (ISN + 201, ISN + 501));
    buffer.acknowledged();
    assert_eq!(buffer.sack_blocks(3).1, 0);
    // In part: what is new is taken.
    put(&mut buffer, &mut bench, 900, 200);
    assert_eq!(buffer.rcv_nxt, ISN + 1101);
    assert_eq!(count(&bench, TcpExtCounter::TCPDSACKOldSent), 2);
    assert_eq!(count(&bench, TcpExtCounter::DelayedACKLost), 1);
    // Out of order: within a piece, over one and a half.
    put(&mut buffer, &mut bench, 2000, 1000);
    let queued = put(&mut buffer, &mut bench, 2100, 100);
    assert_eq!(queued.dropped, Some(DropReason::TcpOfomerge));
    put(&mut buffer, &mut bench, 3500, 1000);
    put(&mut buffer, &mut bench, 1900, 1700);
    assert_eq!(count(&bench, TcpExtCounter::TCPDSACKOfoSent), 2);
    assert_eq!(count(&bench, TcpExtCounter::TCPOFOMerge), 2);
    put(&mut buffer, &mut bench, 1100, 800);
    assert_eq!(read_all(&mut buffer, &mut bench), stream(0, 4500));
    assert_eq!(buffer.rmem_alloc, 0);
}

#[test]
fn a_closed_window_drops_and_a_fin_still_comes() {
    let mut bench = Bench::new();
    let mut buffer = connected(&mut bench);
    buffer.rcv_wnd = 1000;
    put(&mut buffer, &mut bench, 0, 1000);
    let queued = put(&mut buffer, &mut bench, 1000, 1);
    assert_eq!(queued.dropped, Some(DropReason::TcpZerowindow));
    assert_eq!(count(&bench, TcpExtCounter::TCPZeroWindowDrop), 1);
    let queued = put(&mut buffer, &mut bench, 5000, 10);
    assert_eq!(queued.dropped, Some(DropReason::TcpOverwindow));
    let fin = Arrived {
        fin: true,
        ..segment(1000, &[])
    };
    assert!(buffer.queue(&mut bench.context(), &fin).fin);
    assert_eq!(buffer.rcv_nxt, ISN + 1002);
    assert_eq!(read_all(&mut buffer, &mut bench).len(), 1000);
    assert!(buffer.fin_read);
    assert_eq!((buffer.copied_seq, buffer.rmem_alloc), (ISN + 1002, 0));
}

#[test]
fn a_full_buffer_gives_up_what_is_out_of_order_first() {
    let mut bench = Bench::new();
    let mut buffer = connected(&mut bench);
    buffer.locked = true;
    buffer.rcvbuf = 20_000;
    buffer.rcv_wnd = 60_000;
    // Single bytes with much overhead, each in a piece of its own.
    for turn in 0..24 {
        put(&mut buffer, &mut bench, 10_000 + 2 * turn, 1);
    }
    assert!(buffer.rmem_alloc <= 20_000);
    put(&mut buffer, &mut bench, 0, 1000);
    assert_eq!(buffer.rcv_nxt, ISN + 1001);
    assert_eq!(count(&bench, TcpExtCounter::OfoPruned), 1);
    assert!(count(&bench, TcpExtCounter::PruneCalled) >= 1);
    // In order beyond the limit: refused, and no window is offered.
    let mut queued = Queued::default();
    for _ in 0..40 {
        let from = distance(ISN + 1, buffer.rcv_nxt);
        queued = put(&mut buffer, &mut bench, from, 1000);
        if queued.dropped.is_some() {
            break;
        }
    }
    assert!(!buffer.has_gap());
    assert_eq!(queued.dropped, Some(DropReason::ProtoMem));
    assert_eq!(count(&bench, TcpExtCounter::TCPRcvQDrop), 1);
    assert_eq!(buffer.select_window(&mut bench.context()), 0);
}

proptest::proptest! {
    /// Whatever arrives in whatever order and however often: what is read is the stream's beginning, and nothing stays charged.
    #[test]
    fn what_is_read_is_a_prefix_of_the_stream(
        segments in proptest::collection::vec((0u32..6000, 1u32..2000), 1..60),
    ) {
        let mut bench = Bench::new();
        let mut buffer = connected(&mut bench);
        let mut read = Vec::new();
        for (from, length) in segments {
            put(&mut buffer, &mut bench, from, length);
            let costs: u32 = buffer.pieces.values().map(|piece| piece.truesize).sum();
            proptest::prop_assert!(buffer.rmem_alloc >= costs);
            read.extend(read_all(&mut buffer, &mut bench));
            proptest::prop_assert_eq!(buffer.rmem_alloc, costs);
        }
        let length = u32::try_from(read.len()).unwrap();
        proptest::prop_assert_eq!(read, stream(0, length));
        buffer.purge();
        proptest::prop_assert_eq!(buffer.rmem_alloc, buffer.out_of_order_cost());
        buffer.forget_out_of_order();
        proptest::prop_assert_eq!(buffer.rmem_alloc, 0);
    }
}
