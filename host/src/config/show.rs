//! Prints the effective configuration.

use super::{Loaded, keys};

impl Loaded {
    /// The effective configuration as TOML, each value that is no default with where it stands. API
    /// keys are no part of it.
    ///
    /// # Panics
    /// Never: settings are TOML.
    #[must_use]
    pub fn to_toml(&self) -> String {
        let plain = toml::to_string(&self.config).expect("settings are TOML");
        let mut shown = String::with_capacity(plain.len());
        let mut section = String::new();
        for line in plain.lines() {
            if let Some(name) = line.strip_prefix('[') {
                name.trim_matches(['[', ']']).clone_into(&mut section);
            }
            shown.push_str(line);
            let name = line.split(" = ").next().unwrap_or(line);
            let origin = match line.strip_prefix("[[") {
                Some(_) => self.origins.get(&section),
                None => self.origins.get(&keys::below(&section, name)),
            };
            if let Some(origin) = origin {
                shown.push_str(&format!("  # {origin}"));
            }
            shown.push('\n');
        }
        let all = serde_json::to_value(&self.config).expect("settings are JSON");
        let unset = |key: &&String| {
            let pointer = format!("/{}", key.replace('.', "/"));
            all.pointer(&pointer).is_none_or(serde_json::Value::is_null)
        };
        let keys = keys::all();
        let unset: Vec<_> = keys.keys().filter(unset).map(String::as_str).collect();
        if !unset.is_empty() {
            shown.push_str(&format!("\n# not set: {}\n", unset.join(", ")));
        }
        shown
    }
}
