//! What is known of files that are followed: how much was read, and whether reading goes on.

use std::sync::{Mutex, MutexGuard, PoisonError};

use ingest::follow::FollowCounts;

use super::tallies::Series;

/// What is known of one source.
pub(crate) struct Followed {
    pub(crate) source: String,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// By followers that failed: their totals.
    before: [u64; TOTALS],
    counts: FollowCounts,
    failure_count: u64,
    /// Why it stands still.
    failure: Option<String>,
}

/// How many totals there are.
const TOTALS: usize = 12;

/// What is counted since the start, by its name.
fn totals(counts: &FollowCounts) -> [(&'static str, u64); TOTALS] {
    [
        ("masthead_file_read_bytes_total", counts.given_bytes),
        ("masthead_file_batches_total", counts.batches),
        ("masthead_file_rotations_total", counts.rotations),
        ("masthead_file_rewritten_total", counts.rewritten_files),
        ("masthead_file_passed_total", counts.passed_files),
        ("masthead_file_vanished_total", counts.vanished_files),
        ("masthead_file_long_lines_total", counts.long_lines),
        ("masthead_file_nul_runs_total", counts.nul_runs),
        ("masthead_file_skipped_bytes_total", counts.skipped_bytes),
        ("masthead_file_unfinished_lines_total", counts.unfinished_lines),
        ("masthead_file_damaged_total", counts.damaged_files),
        ("masthead_file_lost_positions_total", counts.lost_positions),
    ]
}

/// What holds now, by its name.
fn states(counts: &FollowCounts) -> [(&'static str, u64); 5] {
    [
        ("masthead_files_known", counts.known_files),
        ("masthead_files_crowded", counts.crowded_files),
        ("masthead_files_unseen", counts.unseen_files),
        ("masthead_file_paths_unreadable", counts.unreadable_paths),
        ("masthead_file_pending_bytes", counts.pending_bytes),
    ]
}

impl Followed {
    /// A source of which nothing is known yet.
    pub(crate) fn new(source: &str) -> Self {
        Self { source: source.to_owned(), state: Mutex::default() }
    }

    /// Notes what a follower has counted.
    pub(crate) fn note(&self, counts: FollowCounts) {
        self.state().counts = counts;
    }

    /// Notes that reading has stopped though it should not.
    pub(crate) fn failed(&self, failure: &str) {
        let mut state = self.state();
        let counts = std::mem::take(&mut state.counts);
        for (before, (_, total)) in state.before.iter_mut().zip(totals(&counts)) {
            *before += total;
        }
        state.failure_count += 1;
        state.failure = Some(failure.to_owned());
    }

    /// Notes that reading goes on.
    pub(crate) fn restarted(&self) {
        self.state().failure = None;
    }

    /// Why reading stands still; nothing if it does not.
    pub(crate) fn failure(&self) -> Option<String> {
        self.state().failure.clone()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Everything that is counted of sources, as Prometheus reads it.
pub(crate) fn render(sources: &[&Followed]) -> String {
    let mut series = Series::default();
    let mut add = |name, value: &dyn Fn(&State) -> u64| {
        series.begin(name);
        for followed in sources {
            series.add(&[("source", &followed.source)], value(&followed.state()));
        }
    };
    for (index, (name, _)) in totals(&FollowCounts::default()).into_iter().enumerate() {
        add(name, &|state| state.before[index] + totals(&state.counts)[index].1);
    }
    for (index, (name, _)) in states(&FollowCounts::default()).into_iter().enumerate() {
        add(name, &|state| states(&state.counts)[index].1);
    }
    add("masthead_file_failures_total", &|state| state.failure_count);
    add("masthead_file_failing", &|state| state.failure.is_some().into());
    series.text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_go_on_after_a_fault() {
        let followed = Followed::new("node");
        followed.note(FollowCounts { given_bytes: 100, known_files: 2, ..FollowCounts::default() });
        followed.failed("a fault");
        assert_eq!(followed.failure().as_deref(), Some("a fault"));
        let text = render(&[&followed]);
        assert!(text.contains("masthead_file_failing{source=\"node\"} 1\n"), "{text}");
        followed.restarted();
        followed.note(FollowCounts { given_bytes: 11, known_files: 1, ..FollowCounts::default() });
        let text = render(&[&followed]);
        for line in [
            "masthead_file_read_bytes_total{source=\"node\"} 111\n",
            "masthead_files_known{source=\"node\"} 1\n",
            "masthead_file_failures_total{source=\"node\"} 1\n",
            "masthead_file_failing{source=\"node\"} 0\n",
        ] {
            assert!(text.contains(line), "{line}{text}");
        }
    }
}
