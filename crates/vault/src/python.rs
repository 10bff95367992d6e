//! Tokens exchanged with Python's `cryptography`, both ways.
//!
//! The interpreter is `GREENROOM_TEST_PYTHON`, or `python3`; it must be able to import `cryptography`.

use std::io::Write;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use crate::{Vault, generate_key};

/// Does with Python what it is told: `[op, keys, text]` a line in, the result or null a line out.
const SCRIPT: &str = r#"
import json, sys
from cryptography.fernet import Fernet, MultiFernet

def run(op, keys, text):
    box = MultiFernet([Fernet(k) for k in keys])
    if op == "time":
        return Fernet(keys[0]).extract_timestamp(text)
    if op == "future":
        return Fernet(keys[0]).encrypt_at_time(text.encode(), 4102444800).decode()
    return getattr(box, op)(text.encode()).decode()

for line in sys.stdin:
    try:
        print(json.dumps(run(*json.loads(line))))
    except Exception:
        print("null")
"#;

fn python(calls: &[Value]) -> Vec<Value> {
    let program = std::env::var("GREENROOM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let mut child = Command::new(program)
        .args(["-c", SCRIPT])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    for call in calls {
        writeln!(stdin, "{call}").unwrap();
    }
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success(), "Python must have `cryptography` (pip install cryptography)");
    output.stdout.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[test]
#[ignore = "needs Python's cryptography"]
fn needs_python_cryptography() {
    let (new, old) = (generate_key(), generate_key());
    let (new, old) = (new.expose(), old.expose());
    let both = Vault::from_keys(&format!("{new},{old}")).unwrap();
    let only_old = Vault::from_keys(old).unwrap();
    let texts = ["", "ya29.a0AfB_x", "1//0gcanary", "Gerät ✓ 東京", &"x".repeat(4_000)];

    for text in texts {
        let sealed_old = only_old.seal(&text.into());
        let rotated = both.rotate(&sealed_old).unwrap();
        let answers = python(&[
            json!(["encrypt", [old], text]),
            json!(["encrypt", [new, old], text]),
            json!(["decrypt", [new, old], sealed_old]),
            json!(["decrypt", [new], rotated]),
            json!(["decrypt", [new], sealed_old]),
            json!(["rotate", [new, old], sealed_old]),
            json!(["time", [old], sealed_old]),
            json!(["time", [new], rotated]),
            json!(["future", [new], text]),
        ]);
        let [single, multi, ours, ours_rotated, foreign, theirs_rotated, time, time_rotated, future] =
            answers.as_slice()
        else {
            panic!("{answers:?}");
        };

        // What Python sealed opens here.
        assert_eq!(only_old.open(single.as_str().unwrap()).unwrap().expose(), text);
        assert_eq!(both.open(multi.as_str().unwrap()).unwrap().expose(), text);
        assert!(only_old.open(multi.as_str().unwrap()).is_err(), "MultiFernet seals with its first key");
        assert_eq!(both.open(future.as_str().unwrap()).unwrap().expose(), text);
        // What was sealed here opens there, and only under the right key.
        assert_eq!(ours, text);
        assert_eq!(ours_rotated, text);
        assert!(foreign.is_null());
        // Rotation here and there comes to the same and keeps the time.
        assert_eq!(time, time_rotated);
        let theirs_rotated = theirs_rotated.as_str().unwrap();
        assert_eq!(both.open(theirs_rotated).unwrap().expose(), text);
        assert_eq!(&python(&[json!(["time", [new], theirs_rotated])])[0], time);
    }
}

#[test]
#[ignore = "needs Python's cryptography"]
fn needs_python_cryptography_for_its_quirks() {
    let key = generate_key();
    let vault = Vault::from_keys(key.expose()).unwrap();
    let sealed = vault.seal(&"quirk".into());
    let (head, tail) = sealed.split_at(50);
    // The token, whether Python opens it, whether it opens here: the table in this crate's first lines.
    let table = [
        (sealed.clone(), true, true),
        (format!(" {head}\n{tail}\n"), true, true),
        (sealed.replace('-', "+").replace('_', "/"), true, true),
        (format!("{head}!{tail}"), true, false),
        (
            format!("{}=", sealed.trim_end_matches('=')),
            sealed.ends_with('=') && !sealed.ends_with("=="),
            true,
        ),
    ];
    for (token, theirs, ours) in table {
        let answer = python(&[json!(["decrypt", [key.expose()], token])]);
        assert_eq!(!answer[0].is_null(), theirs, "{token}");
        assert_eq!(vault.open(&token).is_ok(), ours, "{token}");
    }
    let unpadded = key.expose().trim_end_matches('=');
    assert!(python(&[json!(["decrypt", [unpadded], sealed])])[0].is_null());
    assert!(Vault::from_keys(unpadded).unwrap().open(&sealed).is_ok());
    let quoted = format!("{}\n", key.expose());
    assert!(!python(&[json!(["decrypt", [quoted], sealed])])[0].is_null());
}
