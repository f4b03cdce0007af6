//! `/v1/campaigns/{id}/recipients`: upload in pieces, where it stands, close, and what was
//! refused. What a recipient is, is for `intake`.

use std::io;
use std::sync::Arc;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::{StreamExt, stream};
use serde_json::json;
use store::{Campaign, CampaignStatus, chain};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::find;
use crate::auth::Caller;
use crate::body::{self, CampaignPath};
use crate::intake::IntakeError;
use crate::lifecycle::{self, Step, Verb};
use crate::problem::{Answer, Problem};
use crate::{App, attachments, clock, closing, view};

const OFFSET: HeaderName = HeaderName::from_static("upload-offset");
/// Octets of an upload that wait for the disk; the next ones wait in the socket.
const WRITE_BYTES: usize = 1 << 20;
const NDJSON: &str = "application/x-ndjson";
const MEDIA: [&str; 4] =
    [NDJSON, "application/ndjson", "application/jsonl", "application/json-seq"];

/// `GET` and `HEAD`: how much is here.
pub(crate) async fn offset(State(app): State<App>, caller: Caller, path: CampaignPath) -> Answer {
    let campaign = find(&app, &caller, path.0).await?;
    check_here(&app, &campaign)?;
    let offset = app.staging.offset(campaign.id).await.map_err(|e| disk(&e))?;
    Ok(told(offset, campaign.status.as_str()))
}

/// `POST`: appends at `Upload-Offset`. Whatever arrived stays, also when the connection
/// breaks: the answer, or the next `HEAD`, says how much that is.
pub(crate) async fn append(
    State(app): State<App>,
    caller: Caller,
    path: CampaignPath,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.may_change()?;
    body::expect_media(&headers, &MEDIA)?;
    let asked = asked_offset(&headers)?;
    let campaign = find(&app, &caller, path.0).await?;
    check_verb(&campaign, Verb::Upload)?;
    let lock = app.staging.lock(campaign.id).await.ok_or_else(|| busy(&campaign))?;
    // It may have been closed while we waited.
    check_verb(&find(&app, &caller, path.0).await?, Verb::Upload)?;
    claim_here(&app, &campaign).await?;
    let offset = app.staging.offset(campaign.id).await.map_err(|e| disk(&e))?;
    if asked != offset {
        let detail = format!("the upload stands at {offset}, not at {asked}: go on from there");
        return Err(Problem::conflict("offset-mismatch", detail)
            .with("offset", offset)
            .header(OFFSET, offset));
    }
    let room = app.config.upload_bytes_max.saturating_sub(offset);
    if body::declared_length(&headers).is_some_and(|n| n > room) {
        return Err(full(&app, offset));
    }
    let file = app.staging.append(campaign.id, &lock).await.map_err(|e| disk(&e))?;
    let mut file = tokio::io::BufWriter::with_capacity(WRITE_BYTES, file);
    let ended = receive(&app, body, &mut file, room).await;
    let kept = async {
        file.flush().await?;
        file.get_ref().sync_data().await?;
        app.staging.offset(campaign.id).await
    };
    let offset = kept.await.map_err(|e| disk(&e))?;
    drop(lock);
    match ended {
        Received::All => Ok(told(offset, campaign.status.as_str())),
        Received::TooMuch => Err(full(&app, offset)),
        Received::Disk(error) => Err(disk(&error).with("offset", offset).header(OFFSET, offset)),
        Received::BrokenOff => {
            Err(body::broken_off().with("offset", offset).header(OFFSET, offset))
        }
        Received::Silent => {
            let detail = "the upload was silent for too long; what it sent stays";
            let problem = Problem::new(StatusCode::REQUEST_TIMEOUT, "silent", detail);
            Err(problem.with("offset", offset).header(OFFSET, offset))
        }
    }
}

/// How an upload ended.
enum Received {
    All,
    /// More than a campaign may have; what fitted stays.
    TooMuch,
    BrokenOff,
    Silent,
    Disk(io::Error),
}

async fn receive(
    app: &App,
    body: Body,
    file: &mut (impl AsyncWriteExt + Unpin),
    mut room: u64,
) -> Received {
    let mut stream = body.into_data_stream();
    loop {
        let next = tokio::select! {
            next = tokio::time::timeout(app.config.upload_idle(), stream.next()) => next,
            () = app.stop.cancelled() => return Received::Silent,
        };
        let piece = match next {
            Err(_) => return Received::Silent,
            Ok(None) => return Received::All,
            Ok(Some(Err(_))) => return Received::BrokenOff,
            Ok(Some(Ok(piece))) => piece,
        };
        let fits = usize::try_from(room).unwrap_or(usize::MAX).min(piece.len());
        if let Err(error) = file.write_all(&piece[..fits]).await {
            return Received::Disk(error);
        }
        if fits < piece.len() {
            return Received::TooMuch;
        }
        room -= fits as u64;
    }
}

/// `POST …/close`: the answer is the acceptance.
pub(crate) async fn close(State(app): State<App>, caller: Caller, path: CampaignPath) -> Answer {
    caller.may_change()?;
    let campaign = find(&app, &caller, path.0).await?;
    check_verb(&campaign, Verb::Close)?;
    if campaign.status == CampaignStatus::Draft {
        let lock = app.staging.lock(campaign.id).await.ok_or_else(|| busy(&campaign))?;
        claim_here(&app, &campaign).await?;
        if app.staging.offset(campaign.id).await.map_err(|e| disk(&e))? == 0 {
            let detail = "no recipients have been uploaded yet";
            return Err(Problem::unprocessable("no-recipients", detail));
        }
        attachments::check(&app, &campaign).await?;
        lifecycle::change(&app.store, &campaign, CampaignStatus::Closing, &caller.0.name).await?;
        drop(lock);
    }
    let campaign = find(&app, &caller, path.0).await?;
    if campaign.status == CampaignStatus::Draft {
        let detail = format!("the attachments of {} just changed; try again", campaign.id);
        return Err(Problem::conflict("upload-running", detail).header(header::RETRY_AFTER, 2));
    }
    if campaign.status == CampaignStatus::Closing {
        check_here(&app, &campaign)?;
        let mut ended = closing::ensure(&app, campaign.id, &caller.0.name);
        let wait = ended.wait_for(Option::is_some);
        match tokio::time::timeout(app.config.close_wait(), wait).await {
            Ok(Ok(end)) => {
                if let Some(Err(error)) = &*end {
                    return Err(closing_problem(error));
                }
            }
            // The task was stopped with the process.
            Ok(Err(_)) => return Err(closing_problem(&Arc::new(IntakeError::Stopped))),
            Err(_) => {
                let note = json!({ "id": campaign.id.to_string(), "status": "closing" });
                return Ok((StatusCode::ACCEPTED, Json(note)).into_response());
            }
        }
    }
    let campaign = find(&app, &caller, path.0).await?;
    check_verb(&campaign, Verb::Close)?;
    let counters = app.store.campaign_counters(campaign.id).await?;
    Ok(Json(view::whole(&campaign, &counters, app.store.durability())).into_response())
}

fn closing_problem(error: &Arc<IntakeError>) -> Problem {
    let goes_on = "what is accepted stays, and the rest goes on by itself; repeat to see";
    match &**error {
        IntakeError::Store(e) if !e.is_passing() => Problem::internal(e),
        IntakeError::Disk { .. } => {
            tracing::error!(error = %chain(&**error), "recipients cannot be taken in");
            Problem::later("disk", format!("the staging disk is in trouble; {goes_on}"))
        }
        IntakeError::Store(_) => {
            Problem::later("not-confirmed", format!("the queue does not answer; {goes_on}"))
        }
        IntakeError::OutboxFull => Problem::later("outbox-full", format!("{error}; {goes_on}")),
        IntakeError::Gap(_) | IntakeError::Stopped => {
            Problem::later("interrupted", format!("{error}; {goes_on}"))
        }
    }
}

/// `GET …/refused`: the report, as a stream.
pub(crate) async fn refused(State(app): State<App>, caller: Caller, path: CampaignPath) -> Answer {
    const PIECE: usize = 64 << 10;
    let campaign = find(&app, &caller, path.0).await?;
    check_here(&app, &campaign)?;
    let file = match tokio::fs::File::open(app.staging.report(campaign.id)).await {
        Ok(file) => file,
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let detail = "there is no report: the upload has not been closed, or long ago";
            return Err(Problem::new(StatusCode::NOT_FOUND, "not-found", detail));
        }
        Err(e) => return Err(disk(&e)),
    };
    let pieces = stream::unfold(file, |mut file| async move {
        let mut piece = vec![0; PIECE];
        match file.read(&mut piece).await {
            Ok(0) => None,
            Ok(n) => {
                piece.truncate(n);
                Some((Ok(piece), file))
            }
            Err(e) => Some((Err(e), file)),
        }
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(pieces)).into_response())
}

fn told(offset: u64, status: &str) -> Response {
    let headers = [(OFFSET, HeaderValue::from(offset))];
    (headers, Json(json!({ "offset": offset, "status": status }))).into_response()
}

fn asked_offset(headers: &HeaderMap) -> Answer<u64> {
    let Some(value) = headers.get(OFFSET) else { return Ok(0) };
    let number = value.to_str().ok().and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        let detail = format!("upload-offset {value:?} is not a number of octets");
        Problem::new(StatusCode::BAD_REQUEST, "bad-offset", detail)
    })
}

fn check_verb(campaign: &Campaign, verb: Verb) -> Answer<()> {
    match lifecycle::step(verb, campaign.status, campaign.record.start, clock::now()) {
        Step::To(_) | Step::Already => Ok(()),
        Step::Impossible => Err(lifecycle::impossible(campaign, verb)),
    }
}

/// The first piece decides on whose disk an upload lies.
async fn claim_here(app: &App, campaign: &Campaign) -> Answer<()> {
    let here = app.staging.instance();
    let kept = app.store.claim_note(campaign.id, view::STAGED_NOTE, here).await?;
    if kept == here { Ok(()) } else { Err(elsewhere(campaign)) }
}

fn check_here(app: &App, campaign: &Campaign) -> Answer<()> {
    match view::staged_at(campaign) {
        Some(instance) if instance != app.staging.instance() => Err(elsewhere(campaign)),
        Some(_) | None => Ok(()),
    }
}

fn elsewhere(campaign: &Campaign) -> Problem {
    let detail = format!("the upload of {} lies at another API instance: go there", campaign.id);
    Problem::new(StatusCode::MISDIRECTED_REQUEST, "other-instance", detail)
}

fn busy(campaign: &Campaign) -> Problem {
    let detail = format!("another request is uploading to {}; try again", campaign.id);
    Problem::conflict("upload-running", detail).header(header::RETRY_AFTER, 2)
}

fn full(app: &App, offset: u64) -> Problem {
    let max = app.config.upload_bytes_max;
    let detail = format!("a campaign's upload has at most {max} octets: split it over campaigns");
    Problem::too_large(detail).with("max", max).with("offset", offset).header(OFFSET, offset)
}

fn disk(error: &io::Error) -> Problem {
    tracing::error!(%error, "the staging disk fails");
    Problem::later("disk", "the staging disk is in trouble; what it has stays, try again")
}
