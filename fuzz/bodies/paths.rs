//! Return paths, and replies as words: nothing that strangers write opens our paths, and every reply
//! means something.

use mail::classify::{Said, classify};
use mail::verp::ReturnPathKeys;
use mail::{Address, CampaignId, DeliveryId, Phase, Reply, ShardId};

pub(super) fn run(octets: &[u8]) {
    let text = String::from_utf8_lossy(octets);
    let keys = ReturnPathKeys::new(vec![('a', [7; 32])]).expect("a key");
    let forged = keys.decode(&text).is_ok() || keys.decode_token("unsubscribe", &text).is_ok();
    assert!(!forged, "{text:?} opens");
    if let Ok(address) = text.parse::<Address>() {
        let (delivery, campaign) = (DeliveryId { shard: ShardId(3), seq: 31 }, CampaignId(9));
        let local = keys.encode(delivery, campaign, &address);
        let path = keys.decode(&local.to_uppercase()).expect("our own");
        assert!(path.delivery == delivery && path.campaign == campaign && path.matches(&address));
    }
    for phase in Phase::ALL {
        let finding = classify(&Said::from_line(*phase, &text));
        assert!(!finding.rule.is_empty() && finding.confidence <= 100);
    }
    if let Some(reply) = Reply::parse_lines(&text) {
        assert!((200..600).contains(&reply.code) && !reply.text.contains('\n'), "{reply:?}");
    }
}
