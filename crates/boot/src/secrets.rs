//! Secrets: from the environment, or from a file that the environment names.

use std::path::Path;

use secrecy::SecretString;

use crate::error::BootError;

/// Returns a secret that this process cannot do without.
pub fn required(name: &str) -> Result<SecretString, BootError> {
    optional(name)?.ok_or_else(|| BootError::MissingSecret(name.to_owned()))
}

/// Returns a secret from `NAME`, or from the file that `NAME_FILE` names; an empty one counts as none.
pub fn optional(name: &str) -> Result<Option<SecretString>, BootError> {
    find(name, |name| std::env::var(name).ok())
}

fn find(name: &str, variable: impl Fn(&str) -> Option<String>) -> Result<Option<SecretString>, BootError> {
    let given = |name: &str| variable(name).filter(|value| !value.is_empty());
    let wrong = |reason: String| BootError::Secret { name: name.to_owned(), reason };
    let file = format!("{name}_FILE");
    match (given(name), given(&file)) {
        (Some(_), Some(_)) => Err(wrong(format!("it is given twice: unset {name} or {file}"))),
        (Some(value), None) => Ok(Some(value.into())),
        (None, Some(path)) => {
            let text = std::fs::read_to_string(Path::new(&path));
            let text = text.map_err(|error| wrong(format!("the file {path} cannot be read: {error}")))?;
            // Editors and orchestrators end files with a newline that belongs to no secret.
            Ok(Some(SecretString::from(text.trim_end_matches(['\r', '\n'])))
                .filter(|_| !text.trim().is_empty()))
        }
        (None, None) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use secrecy::ExposeSecret;

    use super::*;

    fn found(variables: &[(&str, &str)]) -> Result<Option<String>, BootError> {
        let variable = |name: &str| {
            variables.iter().find(|(given, _)| *given == name).map(|(_, value)| (*value).to_owned())
        };
        Ok(find("KEY", variable)?.map(|secret| secret.expose_secret().to_owned()))
    }

    #[test]
    fn comes_from_the_environment_or_from_a_file() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("key");
        std::fs::write(&path, "from a file\n").unwrap();
        let path = path.to_str().unwrap();
        assert_eq!(found(&[]).unwrap(), None);
        assert_eq!(found(&[("KEY", "")]).unwrap(), None);
        assert_eq!(found(&[("KEY", "plain")]).unwrap().as_deref(), Some("plain"));
        assert_eq!(found(&[("KEY_FILE", path)]).unwrap().as_deref(), Some("from a file"));
        assert_eq!(found(&[("KEY", ""), ("KEY_FILE", path)]).unwrap().as_deref(), Some("from a file"));
    }

    #[test]
    fn says_what_is_wrong_and_shows_nothing() {
        let error = found(&[("KEY", "hunter2"), ("KEY_FILE", "/nowhere")]).unwrap_err().to_string();
        assert_eq!(error, "KEY: it is given twice: unset KEY or KEY_FILE");
        let error = found(&[("KEY_FILE", "/nowhere")]).unwrap_err().to_string();
        assert!(error.starts_with("KEY: the file /nowhere cannot be read"), "{error}");
        let error = required("GREENROOM_TEST_NO_SUCH_SECRET").unwrap_err().to_string();
        assert!(error.starts_with("GREENROOM_TEST_NO_SUCH_SECRET is not set"), "{error}");
    }
}
