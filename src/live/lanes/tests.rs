use super::*;

const HOUR_US: i64 = 3_600_000_000;

fn lane(partition: i32) -> Lane {
    Lane { source: "managed".into(), topic: "audit".into(), partition }
}

fn time(us: i64) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp_micros(us)
}

/// Lanes 0 and 1, of which a cluster has been heard.
fn two() -> Lanes {
    let lanes = Lanes::default();
    lanes.assigned([lane(0), lane(1)]);
    lanes.spoken("managed", "prod");
    lanes
}

fn after(lanes: &Lanes, wait: Duration) -> Option<i64> {
    lanes.state().bound_us("prod", Instant::now() + wait)
}

#[test]
fn the_lane_that_is_behind_holds_up_the_others() {
    let lanes = two();
    assert_eq!(lanes.bound_us("prod"), Some(i64::MIN), "nothing is known of either");
    lanes.heard(&lane(0), time(5 * HOUR_US));
    assert_eq!(lanes.bound_us("prod"), Some(i64::MIN));
    lanes.heard(&lane(1), time(2 * HOUR_US));
    assert_eq!(lanes.bound_us("prod"), Some(2 * HOUR_US));
    lanes.heard(&lane(1), time(HOUR_US));
    assert_eq!(lanes.bound_us("prod"), Some(2 * HOUR_US), "what is late does not turn back the clock");
    lanes.revoked([lane(1)]);
    assert_eq!(lanes.bound_us("prod"), Some(5 * HOUR_US));
}

#[test]
fn who_came_by_no_lane_waits_for_none() {
    let lanes = two();
    lanes.spoken("webhook", "lab");
    assert_eq!(lanes.bound_us("lab"), None);
}

#[test]
fn a_lane_with_nothing_left_holds_nothing_up_after_a_while() {
    let lanes = two();
    lanes.heard(&lane(0), time(HOUR_US));
    lanes.heard(&lane(1), time(2 * HOUR_US));
    lanes.at_end(&lane(0));
    assert_eq!(lanes.bound_us("prod"), Some(HOUR_US));
    assert_eq!(after(&lanes, IDLE_AFTER), Some(2 * HOUR_US));
    lanes.heard(&lane(0), time(HOUR_US + 1));
    assert_eq!(after(&lanes, IDLE_AFTER), Some(HOUR_US + 1), "it has gone on");
}

#[test]
fn nobody_waits_for_ever() {
    let lanes = two();
    lanes.heard(&lane(0), time(HOUR_US));
    assert_eq!(after(&lanes, HOLD_MAX / 2), Some(i64::MIN));
    assert_eq!(after(&lanes, HOLD_MAX), None);
    assert!(lanes.state().lanes.values().all(|pace| pace.is_told));
    lanes.heard(&lane(0), time(2 * HOUR_US));
    assert!(!lanes.state().lanes[&lane(0)].is_told);
}

#[test]
fn one_event_from_the_future_does_not_make_all_others_late() {
    let lanes = two();
    lanes.revoked([lane(1)]);
    lanes.heard(&lane(0), time(4_000_000_000_000_000));
    assert!(lanes.bound_us("prod") <= Some((Utc::now() + AHEAD_MAX).timestamp_micros()));
}

#[test]
fn what_instances_say_of_their_lanes_holds_up_as_their_own() {
    let (one, other, owner) = (Lanes::default(), Lanes::default(), Lanes::default());
    one.assigned([lane(0)]);
    other.assigned([lane(1)]);
    one.expected("managed", [lane(0), lane(1)]);
    one.spoken("managed", "prod");
    one.heard(&lane(0), time(HOUR_US));
    let now = Instant::now();
    owner.take(one.marks(), now);
    assert_eq!(owner.bound_us("prod"), Some(i64::MIN), "nothing was heard of a lane that there is");
    other.heard(&lane(1), time(3 * HOUR_US));
    owner.take(other.marks(), now);
    assert_eq!(owner.bound_us("prod"), Some(HOUR_US));
    one.at_end(&lane(0));
    owner.take(one.marks(), now + IDLE_AFTER);
    owner.take(other.marks(), now + IDLE_AFTER);
    assert_eq!(after(&owner, 2 * IDLE_AFTER), Some(3 * HOUR_US));
}

#[test]
fn a_lane_whose_reader_died_holds_up_until_another_reads_it() {
    let (one, owner) = (Lanes::default(), Lanes::default());
    one.assigned([lane(0)]);
    one.spoken("managed", "prod");
    one.heard(&lane(0), time(HOUR_US));
    one.at_end(&lane(0));
    owner.take(one.marks(), Instant::now());
    assert_eq!(after(&owner, IDLE_AFTER), None);
    assert_eq!(after(&owner, BELIEVED_FOR), Some(HOUR_US), "nobody knows whether there is more by now");
    let two = Lanes::default();
    two.assigned([lane(0)]);
    two.heard(&lane(0), time(HOUR_US / 2));
    owner.take(two.marks(), Instant::now());
    assert_eq!(owner.bound_us("prod"), Some(HOUR_US), "what the other had read has come");
    two.heard(&lane(0), time(4 * HOUR_US));
    owner.take(two.marks(), Instant::now());
    assert_eq!(owner.bound_us("prod"), Some(4 * HOUR_US));
}

#[test]
fn a_lane_that_is_lost_for_a_moment_holds_up_what_it_held_up() {
    let lanes = two();
    lanes.heard(&lane(0), time(HOUR_US));
    lanes.heard(&lane(1), time(5 * HOUR_US));
    lanes.at_end(&lane(1));
    lanes.lost([lane(0), lane(1)]);
    assert_eq!(after(&lanes, HOLD_MAX / 2), Some(HOUR_US), "it would be late when the lane is back");
    lanes.assigned([lane(0), lane(1)]);
    assert_eq!(after(&lanes, HOLD_MAX / 2), Some(HOUR_US));
    lanes.heard(&lane(0), time(6 * HOUR_US));
    assert_eq!(after(&lanes, IDLE_AFTER), Some(5 * HOUR_US), "there may be more in the other by now");
    lanes.at_end(&lane(1));
    assert_eq!(after(&lanes, IDLE_AFTER), Some(6 * HOUR_US));
}

#[test]
fn a_lane_that_is_lost_for_good_holds_up_nothing_after_a_while() {
    let lanes = two();
    lanes.heard(&lane(0), time(HOUR_US));
    lanes.heard(&lane(1), time(5 * HOUR_US));
    lanes.lost([lane(0)]);
    assert_eq!(after(&lanes, HOLD_MAX / 2), Some(HOUR_US));
    lanes.heard(&lane(1), time(6 * HOUR_US));
    assert_eq!(after(&lanes, HOLD_MAX), None);
    assert!(!lanes.state().lanes.contains_key(&lane(0)), "it is not given up, but let go");
}

#[test]
fn lanes_that_are_lost_make_room_for_others() {
    let lanes = Lanes::default();
    let max = i32::try_from(LANES_MAX).unwrap();
    lanes.assigned((0..max).map(lane));
    lanes.assigned([lane(max)]);
    assert!(!lanes.state().lanes.contains_key(&lane(max)));
    lanes.lost([lane(7)]);
    lanes.assigned([lane(max)]);
    let state = lanes.state();
    assert!(state.lanes.contains_key(&lane(max)) && !state.lanes.contains_key(&lane(7)));
}

#[test]
fn who_takes_over_waits_until_others_have_said_how_far_they_are() {
    let (one, owner) = (two(), Lanes::default());
    let within = Duration::from_secs(2);
    owner.await_marks(within);
    assert_eq!(owner.bound_us("prod"), Some(i64::MIN), "nobody has spoken");
    assert_eq!(after(&owner, UNSPOKEN_MAX), None, "nobody speaks");
    one.heard(&lane(0), time(HOUR_US));
    one.heard(&lane(1), time(2 * HOUR_US));
    owner.take(LaneMarks::default(), Instant::now());
    assert_eq!(owner.bound_us("prod"), Some(i64::MIN), "one has spoken who has no lanes");
    owner.take(one.marks(), Instant::now());
    assert_eq!(after(&owner, within), Some(HOUR_US));
}

#[test]
fn marks_outlive_their_form() {
    let lanes = two();
    lanes.expected("managed", [lane(0), lane(1), lane(2)]);
    lanes.heard(&lane(0), time(HOUR_US));
    let marks = lanes.marks();
    let text = serde_json::to_string(&marks).unwrap();
    assert_eq!(serde_json::from_str::<LaneMarks>(&text).unwrap(), marks);
    assert_eq!(serde_json::from_str::<LaneMarks>("{}").unwrap(), LaneMarks::default());
}
