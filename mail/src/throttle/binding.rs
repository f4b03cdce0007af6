//! What binds a pace now: judged from what relays last asked for and from what they were granted.

use crate::time::Timestamp;

/// What is known of one source at one site at this moment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Facts {
    /// Until when the site blocks the source, if it does; the moment may have passed.
    pub hold_until: Option<Timestamp>,
    /// Until when its hour's or day's ceiling leaves nothing, if it does not.
    pub full_until: Option<Timestamp>,
    /// Recipients that wait for it in the hands of relays.
    pub waiting: u64,
    /// Whether all that the rate brings was granted.
    pub is_used_up: bool,
    /// Connections that relays have open, all together.
    pub connections_in_use: u32,
    /// Connections that they may have open.
    pub connections: u32,
}

crate::category::words! {
    /// What keeps more from going.
    Binding {
        /// The site blocks the source: probes alone go.
        Hold = "hold",
        /// The ceiling of an hour or a day is used up.
        Ceiling = "ceiling",
        /// The rate is used up, and more waits.
        Rate = "rate",
        /// All connections are in use, and more waits.
        Connections = "connections",
        /// Recipients wait and the pace lets them go: what binds is the site's answers, or what
        /// relays can take.
        Answers = "answers",
        /// Nothing waits in the hands of a relay.
        Nothing = "nothing",
    }
}

impl Facts {
    /// What keeps more from going: the strongest where there are several.
    #[must_use]
    pub fn binding(&self) -> Binding {
        if self.hold_until.is_some() {
            return Binding::Hold;
        }
        if self.full_until.is_some() {
            return Binding::Ceiling;
        }
        if self.waiting == 0 {
            return Binding::Nothing;
        }
        if self.is_used_up {
            return Binding::Rate;
        }
        if self.connections_in_use >= self.connections {
            return Binding::Connections;
        }
        Binding::Answers
    }
}

impl Binding {
    /// The same in words.
    #[must_use]
    pub fn phrase(self) -> &'static str {
        match self {
            Self::Hold => "the site blocks the source: probes alone go",
            Self::Ceiling => "the ceiling of an hour or a day: it is used up",
            Self::Rate => "the rate: it is used up, and more waits",
            Self::Connections => "connections: all are in use, and more waits",
            Self::Answers => {
                "nothing of the pace: what waits is on its way, as fast as the site answers"
            }
            Self::Nothing => "nothing: nobody waits for it in a relay",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_binds_is_told_from_demand_and_room() {
        let free = Facts {
            hold_until: None,
            full_until: None,
            waiting: 3,
            is_used_up: false,
            connections_in_use: 1,
            connections: 4,
        };
        assert_eq!(free.binding(), Binding::Answers);
        assert_eq!(Facts { is_used_up: true, ..free }.binding(), Binding::Rate);
        let crowded = Facts { connections_in_use: 4, ..free };
        assert_eq!(crowded.binding(), Binding::Connections);
        assert_eq!(Facts { is_used_up: true, ..crowded }.binding(), Binding::Rate);
        assert_eq!(Facts { waiting: 0, ..crowded }.binding(), Binding::Nothing);
        let full = Facts { full_until: Some(Timestamp(0)), waiting: 0, ..free };
        assert_eq!(full.binding(), Binding::Ceiling);
        let held = Facts { hold_until: Some(Timestamp(0)), waiting: 0, ..full };
        assert_eq!(held.binding(), Binding::Hold);
    }
}
