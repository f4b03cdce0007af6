//! Postfix's smtp-sink, which misbehaves on request.

use mail::Phase;

use super::*;

/// What a sink with these options makes of a message.
async fn through(options: &[&str]) -> Option<Transaction> {
    const SINK: &str = "/usr/sbin/smtp-sink";
    if !is_here(
        Path::new(SINK).is_file(),
        "smtp-sink, of the package postfix (ops/install.sh --tests)",
    ) {
        return None;
    }
    let at = free_address();
    // As root it wants to be told whom to be.
    let user: &[&str] = if is_root() { &["-u", "nobody"] } else { &[] };
    let mut command = Command::new(SINK);
    let _sink = serve(command.args(user).args(options).arg(at.to_string()).arg("100"), at).await;
    let mut session = connect(at, TlsPolicy::Opportunistic, &stranger(), true).await;
    Some(send(&mut session, "ann@peer.example", &messages()[4]).await)
}

#[tokio::test]
async fn a_sink_takes_or_refuses_or_hangs_up_and_each_is_told_apart() {
    let cases: [(&[&str], &str); 9] = [
        (&[], "accepted"),
        // No PIPELINING: step by step.
        (&["-p"], "accepted"),
        (&["-e"], "accepted"),
        (&["-f", "rcpt"], "refused 500 rcpt"),
        (&["-r", "mail"], "refused 450 mail"),
        (&["-r", "."], "refused 450 dot"),
        (&["-Q", "rcpt"], "refused 421 rcpt"),
        (&["-q", "rcpt"], "failed rcpt"),
        (&["-q", "."], "unanswered dot"),
    ];
    for (options, wanted) in cases {
        let Some(done) = through(options).await else { return };
        let phase: Phase = done.phase;
        let code = done.reply.as_ref().map_or(0, |reply| reply.code);
        let said = match done.outcome {
            Outcome::Accepted => "accepted".to_owned(),
            Outcome::Refused => format!("refused {code} {phase}"),
            Outcome::Failed(_) => format!("failed {phase}"),
            Outcome::NoReplyAfterDot(_) => format!("unanswered {phase}"),
            other => panic!("{options:?}: {other:?}"),
        };
        assert_eq!(said, wanted, "{options:?}");
    }
}
