//! Settings: the defaults, what an environment changes, and what this process's environment changes.
//!
//! The files are part of the binary, so that it runs anywhere and cannot meet the settings of another
//! release. Secrets are not settings: see [`crate::secrets`].

use std::collections::{BTreeSet, HashMap};

use config::{ConfigError, File, FileFormat, Map, Value, ValueKind};
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::environment::Environment;
use crate::error::BootError;

const DEFAULT: &str = include_str!("../../../config/default.toml");

/// The settings of this process.
#[derive(Debug, Clone)]
pub struct Config {
    environment: Environment,
    settings: config::Config,
    known: BTreeSet<String>,
}

impl Config {
    /// Reads the settings from the files and the environment of this process.
    pub fn load() -> Result<Self, BootError> {
        // A variable that is not UTF-8 cannot be one of ours.
        let variables = std::env::vars_os()
            .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)));
        Self::from_variables(variables.collect())
    }

    fn from_variables(variables: HashMap<String, String>) -> Result<Self, BootError> {
        let environment = Environment::parse(variables.get("GREENROOM_ENV").map(String::as_str))?;
        let settings = layer(File::from_str(DEFAULT, FileFormat::Toml))?;
        let known = keys(&settings).into_iter().map(|(key, _)| key).collect();
        let own = layer(File::from_str(environment.settings(), FileFormat::Toml))?;
        let overrides = layer(
            config::Environment::with_prefix("GREENROOM")
                .prefix_separator("__")
                .separator("__")
                .source(Some(variables)),
        )?;
        Self { environment, settings, known }
            .over(own, &format!("config/{environment}.toml"))?
            .over(overrides, "the environment")
    }

    /// Returns the environment that was chosen.
    pub fn environment(&self) -> Environment {
        self.environment
    }

    /// Changes settings by their full names (`youtube.api_base_url`), over everything else.
    pub fn with<'a>(self, changes: impl IntoIterator<Item = (&'a str, String)>) -> Result<Self, BootError> {
        let mut builder = config::Config::builder();
        for (key, value) in changes {
            builder = builder.set_override(key, value).map_err(|error| refused(&error))?;
        }
        let changes = builder.build().map_err(|error| refused(&error))?;
        self.over(changes, "this process")
    }

    /// Reads a section into the type of the slice that owns it.
    pub fn section<T: DeserializeOwned>(&self, name: &str) -> Result<T, BootError> {
        let value: Value = self.settings.get(name).map_err(|error| refused(&error))?;
        // Read as the only entry of a table, or an error would name the setting without its section.
        let table = Value::new(None, Map::from_iter([(name.to_owned(), value)]));
        let mut sections = HashMap::<String, T>::deserialize(table).map_err(|error| refused(&error))?;
        sections.remove(name).ok_or_else(|| BootError::Setting(format!("{name} is no section")))
    }

    fn over(self, changes: config::Config, origin: &str) -> Result<Self, BootError> {
        if let Some((key, _)) = keys(&changes).into_iter().find(|(key, _)| !self.known.contains(key)) {
            return Err(BootError::UnknownSetting { key, origin: origin.to_owned() });
        }
        let settings = config::Config::builder().add_source(self.settings).add_source(changes).build();
        Ok(Self { settings: settings.map_err(|error| refused(&error))?, ..self })
    }
}

fn layer(source: impl config::Source + Send + Sync + 'static) -> Result<config::Config, BootError> {
    config::Config::builder().add_source(source).build().map_err(|error| refused(&error))
}

/// Says which setting is wrong, and the rule it breaks.
fn refused(error: &ConfigError) -> BootError {
    BootError::Setting(match error {
        ConfigError::Type { key: Some(key), unexpected, expected, .. } => {
            format!("{key} must be {expected}, not {unexpected}")
        }
        ConfigError::At { error, key: Some(key), .. } => format!("{key}: {error}"),
        ConfigError::NotFound(key) => format!("{key} has no value"),
        other => other.to_string(),
    })
}

/// Returns every setting by its full name.
fn keys(settings: &config::Config) -> Vec<(String, ValueKind)> {
    fn walk(table: &Map<String, Value>, path: &str, found: &mut Vec<(String, ValueKind)>) {
        for (name, value) in table {
            let key = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            match &value.kind {
                ValueKind::Table(table) => walk(table, &key, found),
                kind => found.push((key, kind.clone())),
            }
        }
    }
    let mut found = Vec::new();
    if let ValueKind::Table(table) = &settings.cache.kind {
        walk(table, "", &mut found);
    }
    found
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU32;

    use super::*;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Worker {
        shutdown_timeout_secs: u64,
    }

    #[derive(Debug, Deserialize)]
    struct Http {
        #[expect(dead_code, reason = "only its reading is looked at")]
        max_tries: NonZeroU32,
    }

    fn load(variables: &[(&str, &str)]) -> Result<Config, BootError> {
        Config::from_variables(variables.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect())
    }

    fn shutdown_timeout(variables: &[(&str, &str)]) -> Result<u64, BootError> {
        Ok(load(variables)?.section::<Worker>("worker")?.shutdown_timeout_secs)
    }

    #[test]
    fn the_environment_s_file_and_then_its_variables_stand_over_the_defaults() {
        assert_eq!(shutdown_timeout(&[]).unwrap(), 4);
        assert_eq!(shutdown_timeout(&[("GREENROOM_ENV", "production")]).unwrap(), 25);
        let changed = [("GREENROOM_ENV", "production"), ("GREENROOM__WORKER__SHUTDOWN_TIMEOUT_SECS", "7")];
        assert_eq!(shutdown_timeout(&changed).unwrap(), 7);
        assert_eq!(load(&changed).unwrap().environment(), Environment::Production);
    }

    #[test]
    fn every_environment_changes_only_what_exists() {
        for name in ["development", "test", "production"] {
            load(&[("GREENROOM_ENV", name)]).unwrap();
        }
        let error = load(&[("GREENROOM_ENV", "staging")]).unwrap_err().to_string();
        assert_eq!(error, "GREENROOM_ENV is \"staging\": use development, test or production");
    }

    #[test]
    fn an_unknown_name_stops_the_start() {
        for (variable, key) in [
            ("GREENROOM__WORKER__SHUTDOWN_TIMEOUT", "worker.shutdown_timeout"),
            ("GREENROOM__WORKERS__SHUTDOWN_TIMEOUT_SECS", "workers.shutdown_timeout_secs"),
            ("GREENROOM__WORKER", "worker"),
            ("GREENROOM__WORKER__SHUTDOWN_TIMEOUT_SECS__X", "worker.shutdown_timeout_secs.x"),
        ] {
            let error = load(&[(variable, "1")]).unwrap_err().to_string();
            assert!(error.starts_with(&format!("there is no setting `{key}` (the environment)")), "{error}");
        }
    }

    #[test]
    fn a_wrong_value_is_told_with_its_name_and_the_rule() {
        for (variable, value, message) in [
            (
                "GREENROOM__WORKER__SHUTDOWN_TIMEOUT_SECS",
                "soon",
                "worker.shutdown_timeout_secs must be an integer, not string \"soon\"",
            ),
            (
                "GREENROOM__HTTP__MAX_TRIES",
                "0",
                "http.max_tries: invalid value: integer `0`, expected a nonzero u32",
            ),
        ] {
            let config = load(&[(variable, value)]).unwrap();
            let errors = [
                config.section::<Worker>("worker").map(|_| ()).err(),
                config.section::<Http>("http").map(|_| ()).err(),
            ];
            let shown: Vec<_> = errors.into_iter().flatten().map(|error| error.to_string()).collect();
            assert_eq!(shown, [format!("{message}; see config/default.toml")]);
        }
    }

    #[test]
    fn a_process_changes_settings_by_name() {
        let config = load(&[]).unwrap().with([("worker.shutdown_timeout_secs", "9".to_owned())]).unwrap();
        assert_eq!(config.section::<Worker>("worker").unwrap().shutdown_timeout_secs, 9);
        assert!(config.with([("worker.nonsense", String::new())]).is_err());
    }

    #[test]
    fn the_manual_explains_every_setting() {
        let mut before = "";
        for line in DEFAULT.lines() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(before.starts_with("# ") && before.ends_with(['.', ')']), "{line}");
            }
            before = line;
        }
    }
}
