//! The signed heads that alerts are compared with.

use rusqlite::Connection;
use serde::Deserialize;

use super::{Checked, Finding, Unproven, Verified};
use crate::store::checkpoint::{Kind, Statement};
use crate::store::{Chain, NoteError, SignedNote, StoreError, VerificationKey};

/// What was signed about the alerts up to one.
struct Head {
    alert_number: u64,
    chain: Chain,
    time: String,
    checkpoint: Checked,
}

/// Believable heads in order of alerts, and how far the alerts have been compared with them.
pub(super) struct Heads {
    in_order: Vec<Head>,
    next: usize,
    /// The last alert that a fitting head covers.
    covered: u64,
    /// The last alert that was walked over.
    reached: u64,
    /// The latest checkpoint of the store, and the last alert under it.
    latest: Option<(u64, String)>,
    /// The alert by which sinks are sent that checkpoint: it comes right behind those under it.
    carrier: Option<u64>,
}

/// What stands in the place of a rule's id in the alert by which sinks are sent a checkpoint.
const CHECKPOINT_RULE: &str = "masthead.checkpoint";

/// What is read of such an alert.
#[derive(Deserialize)]
struct Carrier {
    rule: CarrierRule,
    notice: CarrierNotice,
}

#[derive(Deserialize)]
struct CarrierRule {
    id: String,
}

#[derive(Deserialize)]
struct CarrierNotice {
    detail: String,
}

impl Heads {
    /// Reads and checks the store's own checkpoints and those given.
    pub(super) fn read(
        connection: &Connection,
        origin: &str,
        key: &VerificationKey,
        given: &[SignedNote],
        verified: &mut Verified,
    ) -> Result<Self, StoreError> {
        let mut heads = Vec::new();
        let mut keep =
            |checkpoint, statement: Result<Statement, NoteError>, verified: &mut Verified| match statement {
                Ok(Statement { alert_number, chain, time, .. }) => {
                    heads.push(Head { alert_number, chain, time, checkpoint });
                }
                Err(reason) => verified.find(Finding::Unbelievable { checkpoint, reason }),
            };
        let mut statement =
            connection.prepare("SELECT number, alert_number, note FROM checkpoints ORDER BY number")?;
        let mut rows = statement.query([])?;
        let (mut expected, mut latest) = (None, None);
        while let Some(row) = rows.next()? {
            let number = row.get::<_, i64>(0)?.cast_unsigned();
            if let Some(expected) = expected.filter(|expected| *expected < number) {
                verified.find(Finding::CheckpointsMissing(expected..=number - 1));
            }
            expected = Some(number.saturating_add(1));
            let alert_number = row.get::<_, i64>(1)?.cast_unsigned();
            let note = row.get_ref(2)?.as_str().map_err(|_| NoteError::Form);
            latest = note.as_ref().ok().map(|note| (alert_number, (*note).to_owned()));
            let note = note.and_then(str::parse);
            let statement = note.and_then(|note| believed(&note, origin, key)).and_then(|statement| {
                let is_it =
                    statement.kind == Kind::Checkpoint(number) && statement.alert_number == alert_number;
                if is_it { Ok(statement) } else { Err(NoteError::Checkpoint) }
            });
            keep(Checked::Own(number), statement, verified);
        }
        for (index, note) in given.iter().enumerate() {
            keep(Checked::Given(index), believed(note, origin, key), verified);
        }
        // Of heads over the same alerts the store's own come first, as they were read.
        heads.sort_by_key(|head| head.alert_number);
        Ok(Self { in_order: heads, next: 0, covered: 0, reached: 0, latest, carrier: None })
    }

    /// Compares the heads over the alerts up to `number` with what the alerts give: one of
    /// `chains`, of which there are two where the row says another hash than it should.
    pub(super) fn compare(&mut self, number: u64, chains: &[Chain], verified: &mut Verified) {
        self.reached = number;
        while let Some(head) = self.in_order.get(self.next)
            && head.alert_number <= number
        {
            if head.alert_number == number && !chains.contains(&head.chain) {
                let range = (self.covered + 1).min(number)..=number;
                verified.find(Finding::Rewritten { range, checkpoint: head.checkpoint });
            } else if head.alert_number == number {
                self.covered = number;
                verified.checkpoint_count += 1;
                verified.last_checkpoint = Some((number, head.time.clone()));
            }
            self.next += 1;
        }
    }

    /// Notes an alert that holds the store's latest checkpoint, which only what comes after it can be over.
    pub(super) fn look_for_checkpoint(&mut self, number: u64, json: &str) {
        let is_behind = |(covered, _): &&(u64, String)| *covered == self.covered && number == covered + 1;
        let carries = |(_, note): &(u64, String)| {
            let carrier = serde_json::from_str::<Carrier>(json);
            carrier.is_ok_and(|carrier| carrier.rule.id == CHECKPOINT_RULE && carrier.notice.detail == *note)
        };
        if self.latest.as_ref().filter(is_behind).is_some_and(carries) {
            self.carrier = Some(number);
        }
    }

    /// Begins behind the alerts that were pruned.
    pub(super) fn begin(&mut self, kept_after: u64, chain: Chain, verified: &mut Verified) {
        while let Some(head) = self.in_order.get(self.next)
            && head.alert_number < kept_after
        {
            match head.checkpoint {
                Checked::Own(_) => verified.checkpoint_count += 1,
                Checked::Given(_) => verified.unproven.push(Unproven::Pruned(head.checkpoint)),
            }
            self.next += 1;
        }
        self.covered = kept_after;
        self.compare(kept_after, &[chain], verified);
    }

    /// What is left are heads over more alerts than there are.
    pub(super) fn finish(self, verified: &mut Verified, is_alone: bool) {
        for head in self.in_order.iter().skip(self.next) {
            let (checkpoint, alert_number) = (head.checkpoint, head.alert_number);
            verified.find(Finding::Truncated { checkpoint, alert_number });
        }
        if self.covered < self.reached && self.carrier != Some(self.reached) {
            verified.unproven.push(Unproven::Tail(self.covered + 1..=self.reached));
        }
        if is_alone {
            verified.unproven.push(Unproven::NoCopies);
        }
    }
}

/// What a note says, if it is about this store and signed with the key.
fn believed(note: &SignedNote, origin: &str, key: &VerificationKey) -> Result<Statement, NoteError> {
    note.verify(key)?;
    let statement: Statement = note.text().parse()?;
    if statement.origin == origin { Ok(statement) } else { Err(NoteError::Checkpoint) }
}
