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
        .map(|candidate| (strsim::osa_distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
