//! A recipient's message: rendered and signed.

use mail::Address;
use mail::unsubscribe::unsubscribe_mailto;
use message::{Envelope, Files, Message, Recipient};

use crate::job::Job;
use crate::relay::Relay;
use crate::smtp::Session;

/// What hashing a longer message takes (2 ms at 500 MB/s) is not taken from those who answer for
/// leases and connections.
const SIGNED_AT_ONCE_MAX: usize = 1 << 20;

/// Render into `message` and sign, unless it is one that the session will not send in any case.
pub(crate) async fn compose(
    relay: &Relay,
    job: &Job,
    address: &Address,
    files: Option<&Files>,
    session: &Session,
    message: &mut Message,
) -> Result<(), String> {
    render(relay, job, address, files, message)?;
    if session.too_big_for(message.len()).is_some() {
        return Ok(());
    }
    let (sending, at) = (&job.content.sending, job.content.batch.accepted_at());
    let Some(signer) = &sending.signer else { return Ok(()) };
    if message.len() <= SIGNED_AT_ONCE_MAX {
        return signer.sign(at, message).map_err(|e| e.to_string());
    }
    let (sending, mut large) = (sending.clone(), std::mem::take(message));
    let signing = tokio::task::spawn_blocking(move || {
        let signed = sending.signer.as_ref().map_or(Ok(()), |signer| signer.sign(at, &mut large));
        (large, signed)
    });
    let (large, signed) = signing.await.map_err(|e| format!("signing it: {e}"))?;
    *message = large;
    signed.map_err(|e| e.to_string())
}

fn render(
    relay: &Relay,
    job: &Job,
    address: &Address,
    files: Option<&Files>,
    message: &mut Message,
) -> Result<(), String> {
    let sending = &job.content.sending;
    let batch = &job.content.batch;
    let values: Vec<&str> = (0..batch.fields()).map(|f| batch.value(job.index, f)).collect();
    let name = Some(batch.name(job.index)).filter(|n| !n.is_empty());
    let delivery = job.delivery();
    let message_id = format!("{delivery}.{}@{}", sending.id, sending.sender);
    let path = relay.unsubscribe_path(job);
    let link = format!("{}{path}", relay.public_url);
    let mailto = unsubscribe_mailto(&path, &relay.return_path_domain);
    let envelope = Envelope {
        delivery,
        message_id: &message_id,
        date: batch.accepted_at(),
        unsubscribe_url: Some(&link),
        unsubscribe_mailto: Some(&mailto),
        feedback_id: Some(&sending.feedback_id),
    };
    let recipient = Recipient { address, name, values: &values };
    sending.template.render(&recipient, &envelope, files, message).map_err(|e| e.to_string())
}
