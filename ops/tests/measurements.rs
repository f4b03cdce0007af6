//! The measurements of `loadtests` on this program, small: they come to an end, count
//! what arrived, and charge each service. How much it costs is not judged here.

use loadtests::bench::{Program, Signing, Wish, intake, queue, throughput};

fn program() -> Program {
    Program { path: env!("CARGO_BIN_EXE_malleposte").into(), folder: None }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_arrives_once_and_is_charged_to_the_services() {
    let wish = Wish {
        messages: 2_000,
        octets: 10_000,
        tls: true,
        signing: Signing::Rsa2048,
        chunking: true,
        connections: 5,
        shards: 4,
        seed: 3,
    };
    let run = throughput(&program(), &wish).await.expect("a run");
    assert_eq!((run.messages, run.durability), (2_000, "always"));
    assert!(run.wire_bytes > 10_000, "{run:?}");
    assert!((1..=5).contains(&run.connections), "{run:?}");
    // An RSA signature alone is some hundred microseconds.
    assert!(run.delivery_cpu_us.relay > 50.0 && run.delivery_cpu_us.redis > 0.0, "{run:?}");
    assert!(run.dkim && run.algorithm == Signing::Rsa2048, "{run:?}");
    assert!(run.rss_mb.total > 20.0 && run.rss_mb.total < 1000.0, "{run:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn recipients_are_accepted_in_octets_not_kilobytes() {
    let intake = intake(&program(), 50_000, 3).await.expect("a measurement");
    assert_eq!(intake.recipients, 50_000);
    assert!(intake.octets > 50_000 * 60, "{intake:?}");
    assert!((1.0..200.0).contains(&intake.redis_bytes_per_recipient), "{intake:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn heavy_the_queue_is_measured_from_intake_to_the_first_message() {
    let queue = queue(&program(), 30_000, 3).await.expect("a measurement");
    assert_eq!((queue.recipients, queue.durability), (30_000, "always"));
    assert!((1.0..200.0).contains(&queue.redis_bytes_per_recipient), "{queue:?}");
    assert!(queue.redis_bytes_per_deferred > queue.redis_bytes_per_recipient, "{queue:?}");
    let (packed, unpacked) =
        (queue.redis_bytes_per_sparse_deferred, queue.redis_bytes_per_sparse_unpacked);
    // How much less depends on how many of a batch are left: in a small campaign, one or two.
    assert!((1.0..unpacked * 0.8).contains(&packed), "{queue:?}");
    assert!(queue.repacked_per_s > 1.0, "{queue:?}");
    assert!(queue.lease_settle_per_s > 1_000.0 && queue.intake_per_s > 1_000.0, "{queue:?}");
    assert!((0.001..10.0).contains(&queue.first_message_s), "{queue:?}");
    assert!((5.0..500.0).contains(&queue.relay_peak_rss_mb), "{queue:?}");
}
