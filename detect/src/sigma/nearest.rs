//! The right name nearest to a wrong one.

/// How many mistakes a name may have; more make it another name.
const DISTANCE_MAX: usize = 4;

/// The candidate that `name` most likely was meant to be, if any is near enough: one
/// mistake for every three characters, swapped neighbours counting as one.
pub(super) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let name = name.to_lowercase();
    if name.is_empty() {
        return None;
    }
    let length = name.chars().count();
    let distance_max = (length / 3).clamp(1, DISTANCE_MAX);
    candidates
        .into_iter()
        .filter(|candidate| candidate.chars().count().abs_diff(length) <= distance_max)
        .map(|candidate| (candidate.to_lowercase(), candidate))
        .filter(|(lower, _)| may_be_near(&name, lower, distance_max))
        .map(|(lower, candidate)| (strsim::osa_distance(&name, &lower), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// False when the distance is too large for certain, which is cheaper to tell than the
/// distance: each character that the other text has nowhere is a mistake.
pub(super) fn may_be_near(text: &str, other: &str, distance_max: usize) -> bool {
    text.chars().filter(|character| !other.contains(*character)).count() <= distance_max
}
