//! `/v1/campaigns/{id}/attachments`: the files that a campaign's messages carry, attached or
//! shown in the HTML. They go to the store as they come: this process never holds a whole one.

use axum::Json;
use axum::body::Body;
use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use mail::CampaignId;
use message::FileHead;
use serde::Deserialize;
use serde_json::{Value, json};
use store::{Campaign, FileRecord, FilesChanged};

use super::campaigns::bad_query;
use super::find;
use crate::attachments::{self, Room};
use crate::auth::Caller;
use crate::body::{self, CampaignPath};
use crate::lifecycle::{self, Step, Verb};
use crate::problem::{Answer, Problem};
use crate::{App, clock};

/// Others may change the list at the same time; not for ever.
const TRIES: usize = 5;

/// The campaign and the file that a path names.
pub(crate) struct FilePath(CampaignId, String);

impl<S: Send + Sync> FromRequestParts<S> for FilePath {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Path((id, name)) =
            Path::<(String, String)>::from_request_parts(parts, state).await.map_err(|_| {
                let detail = "the file name is not UTF-8 when its %XX are decoded";
                Problem::unprocessable("bad-attachment", detail).with("field", "name")
            })?;
        let quoted: String = id.chars().take(40).collect();
        let id = id.parse().map_err(|_| Problem::not_found(format!("campaign {quoted:?}")))?;
        Ok(Self(id, name))
    }
}

/// How a file is put.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct How {
    /// What the HTML calls it after `cid:`; without, it is attached.
    inline: Option<String>,
}

/// `GET`: what there is, and how it fits the HTML.
pub(crate) async fn list(
    State(app): State<App>,
    caller: Caller,
    path: CampaignPath,
) -> Answer<Json<Value>> {
    let campaign = find(&app, &caller, path.0).await?;
    let unmatched = attachments::unmatched(&campaign);
    Ok(Json(json!({
        "attachments": attachments::views(&campaign.files),
        "octets": campaign.files.iter().map(|file| file.octets).sum::<u64>(),
        "octets_max": app.config.attachments_bytes_max,
        "missing": unmatched.missing,
        "unused": unmatched.unused,
    })))
}

/// `PUT …/{name}`: the body is the file. The same again changes nothing; another one takes the
/// place of what had the name.
pub(crate) async fn put(
    State(app): State<App>,
    caller: Caller,
    FilePath(id, name): FilePath,
    how: Result<Query<How>, QueryRejection>,
    headers: HeaderMap,
    body: Body,
) -> Answer {
    caller.may_change()?;
    let Query(how) = how.map_err(|e| bad_query(&e))?;
    let campaign = find(&app, &caller, id).await?;
    check_draft(&campaign)?;
    body::expect_plain(&headers)?;
    let media_type = media_type(&headers)?;
    let head = FileHead::new(&name, &media_type, how.inline.as_deref())
        .map_err(|error| attachments::bad(&error))?;
    let room = Room::of(&app.config, &campaign.files, &head)?;
    if body::declared_length(&headers).is_some_and(|octets| octets > room.octets()) {
        return Err(room.too_large());
    }
    let file = attachments::receive(&app, id, &head, &room, body).await?;
    enlist(&app, &caller, id, &head, file).await
}

fn media_type(headers: &HeaderMap) -> Answer<String> {
    let Some(value) = headers.get(header::CONTENT_TYPE) else {
        let detail = "content-type is missing: it says what the file is, such as image/png";
        let status = StatusCode::UNSUPPORTED_MEDIA_TYPE;
        return Err(Problem::new(status, "unsupported-media-type", detail));
    };
    Ok(String::from_utf8_lossy(value.as_bytes()).into_owned())
}

/// Puts an uploaded file on the list.
async fn enlist(
    app: &App,
    caller: &Caller,
    id: CampaignId,
    head: &FileHead,
    file: FileRecord,
) -> Answer {
    for _ in 0..TRIES {
        let campaign = find(app, caller, id).await?;
        let fits = check_draft(&campaign)
            .and_then(|()| Room::of(&app.config, &campaign.files, head)?.take(file.octets));
        if let Err(problem) = fits {
            app.store.delete_files(id, &[file]).await?;
            return Err(problem);
        }
        let place = campaign.files.iter().position(|other| other.name == file.name);
        let before = place.map(|at| &campaign.files[at]);
        if let Some(same) = before.filter(|before| attachments::is_same(before, &file))
            && app.store.keep_files(id, std::slice::from_ref(same)).await?.is_empty()
        {
            app.store.delete_files(id, std::slice::from_ref(&file)).await?;
            return Ok(told(StatusCode::OK, &campaign, same));
        }
        let mut after = campaign.files.clone();
        match place {
            Some(at) => after[at] = file.clone(),
            None => after.push(file.clone()),
        }
        match app.store.change_files(&campaign, &after).await? {
            FilesChanged::Done => {
                app.store.keep_files(id, std::slice::from_ref(&file)).await?;
                if let Some(before) = before {
                    app.store.delete_files(id, std::slice::from_ref(before)).await?;
                }
                let status = if place.is_some() { StatusCode::OK } else { StatusCode::CREATED };
                return Ok(told(status, &campaign, &file));
            }
            // The next look says why not.
            FilesChanged::Others | FilesChanged::Settled => {}
        }
    }
    app.store.delete_files(id, &[file]).await?;
    Err(keeps_changing(id))
}

/// A file that the HTML never shows is taken, and told about.
fn told(status: StatusCode, campaign: &Campaign, file: &FileRecord) -> Response {
    let mut view = attachments::view(file);
    let html = campaign.record.template.html.as_deref();
    if let Some(id) = &file.content_id
        && !message::Unmatched::find(html, &[id]).unused.is_empty()
    {
        view["warning"] = json!(format!("the html never mentions cid:{id}"));
    }
    (status, Json(view)).into_response()
}

/// `DELETE …/{name}`: it is not there any more, whether it was or not.
pub(crate) async fn delete(
    State(app): State<App>,
    caller: Caller,
    FilePath(id, name): FilePath,
) -> Answer {
    caller.may_change()?;
    for _ in 0..TRIES {
        let campaign = find(&app, &caller, id).await?;
        check_draft(&campaign)?;
        let (gone, after): (Vec<_>, Vec<_>) =
            campaign.files.iter().cloned().partition(|file| file.name == name);
        if gone.is_empty() {
            return Ok(StatusCode::NO_CONTENT.into_response());
        }
        match app.store.change_files(&campaign, &after).await? {
            FilesChanged::Done => {
                app.store.delete_files(id, &gone).await?;
                return Ok(StatusCode::NO_CONTENT.into_response());
            }
            FilesChanged::Others | FilesChanged::Settled => {}
        }
    }
    Err(keeps_changing(id))
}

/// Files are settled when the recipients are: some may be on their way already.
fn check_draft(campaign: &Campaign) -> Answer<()> {
    let upload = Verb::Upload;
    match lifecycle::step(upload, campaign.status, campaign.record.start, clock::now()) {
        Step::To(_) | Step::Already => Ok(()),
        Step::Impossible => Err(lifecycle::impossible(campaign, upload)),
    }
}

fn keeps_changing(id: CampaignId) -> Problem {
    Problem::later("busy", format!("the attachments of {id} keep changing; try again"))
}
