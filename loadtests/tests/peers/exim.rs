//! Exim as receiver: CHUNKING as the mail world's second server speaks it.

use super::*;

/// Where `ops/install.sh --tests` unpacks it: its package cannot stand beside Postfix's.
fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/exim/usr/sbin/exim4")
}

const MAILDIR: &str = "  maildir_format\n  user = nobody\n  group = nogroup\n";

fn settings(root: &Path, at: SocketAddr) -> String {
    let root = root.display();
    format!(
        "exim_path = {}\n\
         exim_user = nobody\n\
         exim_group = nogroup\n\
         never_users =\n\
         keep_environment =\n\
         spool_directory = {root}/spool\n\
         log_file_path = {root}/log/%slog\n\
         primary_hostname = mx.exim.example\n\
         local_interfaces = {}\n\
         daemon_smtp_ports = {}\n\
         chunking_advertise_hosts = *\n\
         pipelining_advertise_hosts = *\n\
         dsn_advertise_hosts = *\n\
         tls_advertise_hosts =\n\
         smtp_accept_queue_per_connection = 0\n\
         acl_smtp_rcpt = rcpt\n\
         acl_smtp_data = accept\n\
         begin acl\n\
         rcpt:\n  deny local_parts = nobody\n    message = no such user\n  accept\n\
         begin routers\n\
         ann:\n  driver = accept\n  local_parts = ann\n  transport = ann\n\
         bob:\n  driver = accept\n  local_parts = bob\n  transport = bob\n\
         begin transports\n\
         ann:\n  driver = appendfile\n  directory = {root}/box/ann\n{MAILDIR}\
         bob:\n  driver = appendfile\n  directory = {root}/box/bob\n{MAILDIR}",
        program().display(),
        at.ip(),
        at.port()
    )
}

#[tokio::test]
async fn exim_stores_what_was_sent_whole_and_in_steps() {
    if !is_startable(program().is_file(), "exim4") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let at = free_address();
    for name in ["spool", "log", "box"] {
        std::fs::create_dir(folder.path().join(name)).unwrap();
        std::os::unix::fs::chown(folder.path().join(name), Some(65534), Some(65534)).unwrap();
    }
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder.path(), PermissionsExt::from_mode(0o755)).unwrap();
    let file = folder.path().join("exim.conf");
    std::fs::write(&file, settings(folder.path(), at)).unwrap();
    let mut command = Command::new(program());
    let _exim = serve(command.arg("-C").arg(&file).arg("-bdf"), at).await;
    for chunking in [true, false] {
        let mut session = connect(at, TlsPolicy::Never, &stranger(), chunking).await;
        assert!(session.capabilities().chunking && session.capabilities().pipelining);
        send_all(&mut session, "ann@peer.example").await;
        // A refused recipient in between spoils nothing.
        let done = send(&mut session, "nobody@peer.example", &messages()[0]).await;
        assert!(matches!(done.outcome, Outcome::Refused), "{done:?}");
        let done = send(&mut session, "bob@peer.example", &messages()[5]).await;
        assert!(matches!(done.outcome, Outcome::Accepted), "{done:?}");
        session.quit().await;
    }
    let ann = folder.path().join("box/ann/new");
    assert_all(stored(&ann, messages().len() * 2).await, 2);
    let bob = stored(&folder.path().join("box/bob/new"), 2).await;
    assert_eq!(bob, vec![messages()[5].clone(); 2]);
}
