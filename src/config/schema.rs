//! The form of a configuration as a JSON Schema, for editors.

use schemars::generate::SchemaSettings;

use super::Config;

/// The schema as a JSON document.
pub(crate) fn schema() -> serde_json::Value {
    let generator = SchemaSettings::draft07().into_generator();
    generator.into_root_schema_for::<Config>().into()
}

#[cfg(test)]
mod tests;
