//! The right name nearest to a wrong one.

/// The candidate that `name` most likely was meant to be, if any is near enough: one
/// mistake for every three characters, swapped neighbours counting as one.
pub(super) fn nearest<'c>(name: &str, candidates: impl IntoIterator<Item = &'c str>) -> Option<&'c str> {
    let name = name.to_lowercase();
    let distance_max = (name.chars().count() / 3).max(1);
    candidates
        .into_iter()
        // A hostile name must not cost the product of two great lengths.
        .filter(|candidate| candidate.len().abs_diff(name.len()) <= distance_max * 4)
        .map(|candidate| (strsim::osa_distance(&name, &candidate.to_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= distance_max)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}
