//! What buttons do. Each form brings its own token, a reason, and what it is about.

use std::collections::HashMap;
use std::sync::Arc;

use axum::Form;
use axum::extract::{Extension, Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};
use mail::alarm::Condition;
use mail::throttle::Fixed;

use crate::Console;
use crate::doors::is_same;
use crate::pages::{campaign_of, trouble_page};
use crate::platform::{Answer, Deed, Hand, Trouble};
use crate::viewer::{DONE, Viewer, inside};

/// Characters of a reason.
const WHY_MAX: usize = 500;
/// How long what was done is told.
const TOLD_S: u64 = 10;

/// What a form holds.
type Fields = HashMap<String, String>;

/// `POST /console/do/{verb}`.
pub(crate) async fn act(
    State(console): State<Console>,
    Extension(viewer): Extension<Viewer>,
    Path(verb): Path<String>,
    Form(fields): Form<Fields>,
) -> Response {
    let back = inside(fields.get("back").map(String::as_str)).to_owned();
    match done(&console, &viewer, &verb, &fields).await {
        Ok(()) => {
            let mut response = Redirect::to(&back).into_response();
            let told = console.set_cookie(DONE, &verb, TOLD_S);
            response.headers_mut().append(header::SET_COOKIE, told);
            response
        }
        Err(trouble) => trouble_page(&console, &viewer, &trouble, Some(&back)),
    }
}

async fn done(console: &Console, viewer: &Viewer, verb: &str, fields: &Fields) -> Answer<()> {
    let token = fields.get("form_token").map_or("", String::as_str);
    if viewer.form_token.is_empty() || !is_same(token, &viewer.form_token) {
        return Err(Trouble::Refused(
            "this form is of an earlier visit: go back, load the page again".into(),
        ));
    }
    if !viewer.may_operate {
        return Err(Trouble::Refused("this account may look, and give no orders".into()));
    }
    let deed = deed(verb, fields)?;
    let why = text(fields, "why")?;
    if why.chars().count() > WHY_MAX || why.chars().any(char::is_control) {
        return Err(Trouble::Refused(format!("say in a line of at most {WHY_MAX} characters why")));
    }
    tracing::info!(by = viewer.name, verb, "an order from the console");
    let (platform, hand) = (Arc::clone(&console.platform), Hand { by: viewer.name.clone(), why });
    // Whole, even where whoever asked for it has gone meanwhile.
    let acted = tokio::spawn(async move { platform.act(hand, deed).await });
    acted.await.map_err(|error| Trouble::Broken(error.to_string()))?
}

/// What a verb and its fields ask for.
fn deed(verb: &str, fields: &Fields) -> Answer<Deed> {
    let campaign = || campaign_of(&text(fields, "campaign")?);
    let pace = || Ok::<_, Trouble>((text(fields, "source")?, text(fields, "site")?));
    let listed = || Ok::<_, Trouble>((text(fields, "tenant")?, text(fields, "address")?));
    Ok(match verb {
        "suspend-site" => Deed::SuspendSite(text(fields, "site")?),
        "resume-site" => Deed::ResumeSite(text(fields, "site")?),
        "fix-pace" => {
            let (source, site) = pace()?;
            let fixed = Fixed {
                rate: number(fields, "rate")?,
                connections: number(fields, "connections")?,
                messages_per_connection: number(fields, "messages_per_connection")?,
            };
            if fixed.is_nothing() {
                return Err(Trouble::Refused(
                    "say what is to be fixed: a rate, connections, or messages per connection"
                        .into(),
                ));
            }
            Deed::FixPace { source, site, fixed, minutes: number(fields, "minutes")? }
        }
        "release-pace" => {
            let (source, site) = pace()?;
            Deed::ReleasePace { source, site }
        }
        "undo-change" => {
            let (source, site) = pace()?;
            Deed::UndoChange { source, site, number: text(fields, "number")? }
        }
        "undo-order" => {
            let id = number(fields, "order")?;
            Deed::UndoOrder(id.ok_or_else(|| missing("order"))?)
        }
        "pause" => Deed::PauseCampaign(campaign()?),
        "resume" => Deed::ResumeCampaign(campaign()?),
        "cancel" => Deed::CancelCampaign(campaign()?),
        "drain" => Deed::DrainRelay(text(fields, "relay")?),
        "silence" => {
            let word = text(fields, "condition")?;
            let condition = match word.as_str() {
                "all" => None,
                word => Some(Condition::from_word(word).ok_or_else(|| {
                    Trouble::Refused(format!("{word:?} is no condition that an alarm can have"))
                })?),
            };
            let minutes = number(fields, "minutes")?.filter(|minutes| *minutes > 0);
            Deed::Silence {
                condition,
                subject: text(fields, "subject").unwrap_or_default(),
                minutes: minutes.ok_or_else(|| missing("minutes"))?,
            }
        }
        "lift-silence" => {
            let id = number(fields, "silence")?;
            Deed::LiftSilence(id.ok_or_else(|| missing("silence"))?)
        }
        "suppress" => {
            let (tenant, address) = listed()?;
            Deed::Suppress { tenant, address }
        }
        "lift" => {
            let (tenant, address) = listed()?;
            Deed::Lift { tenant, address }
        }
        other => return Err(Trouble::Absent(format!("verb {other:?}"))),
    })
}

fn text(fields: &Fields, name: &str) -> Answer<String> {
    let text = fields.get(name).map(|text| text.trim()).filter(|text| !text.is_empty());
    text.map(str::to_owned).ok_or_else(|| missing(name))
}

fn missing(name: &str) -> Trouble {
    Trouble::Refused(format!("{name:?} is missing"))
}

/// A number, where one is given. People write a comma where their language does.
fn number<T: std::str::FromStr>(fields: &Fields, name: &str) -> Answer<Option<T>> {
    let text = fields.get(name).map(|text| text.trim().replace(',', "."));
    let wrong = |text: &str| Trouble::Refused(format!("{name}: {text:?} is no number for it"));
    text.filter(|text| !text.is_empty())
        .map(|text| text.parse().map_err(|_| wrong(&text)))
        .transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fields(pairs: &[(&str, &str)]) -> Fields {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn a_form_is_read_as_it_was_meant() {
        let form =
            fields(&[("source", "a"), ("site", "mx.example"), ("rate", "2,5"), ("minutes", "")]);
        let fixed = Fixed { rate: Some(2.5), ..Fixed::default() };
        let expected =
            Deed::FixPace { source: "a".into(), site: "mx.example".into(), fixed, minutes: None };
        assert_eq!(deed("fix-pace", &form), Ok(expected));
        assert_eq!(deed("undo-order", &fields(&[("order", "7")])), Ok(Deed::UndoOrder(7)));
    }

    #[test]
    fn what_is_wrong_with_a_form_is_said() {
        let refused = |verb: &str, pairs: &[(&str, &str)]| {
            deed(verb, &fields(pairs)).expect_err("refused").to_string()
        };
        assert_eq!(refused("drain", &[("relay", "  ")]), "\"relay\" is missing");
        let pace = [("source", "a"), ("site", "b")];
        assert!(refused("fix-pace", &pace).contains("say what is to be fixed"));
        let wrong = refused("fix-pace", &[pace[0], pace[1], ("connections", "two")]);
        assert_eq!(wrong, "connections: \"two\" is no number for it");
        assert!(refused("explode", &[]).contains("\"explode\""));
    }
}
