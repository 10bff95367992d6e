use std::process::Stdio;

use super::*;

/// Runs a script of `acceptance/` against a sandbox, with the interpreter that has Google's packages.
async fn accept(script: &str) {
    let settings = Settings { videos: 60, comments: 3_000, ..Settings::default() };
    let running = Sandbox::start(settings).await.expect("a free port");
    let python = std::env::var("GREENROOM_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let input = serde_json::json!({"ready": running.ready(), "totals": running.totals()[0]});
    let output = tokio::process::Command::new(python)
        .arg(format!("{}/acceptance/{script}", env!("CARGO_MANIFEST_DIR")))
        .arg(input.to_string())
        .stdin(Stdio::null())
        .output()
        .await
        .expect("a Python interpreter");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
    println!("{out}");
}

#[tokio::test]
#[ignore = "needs google-api-python-client"]
async fn needs_python_google_client() {
    accept("google_client.py").await;
}

#[tokio::test]
#[ignore = "needs google-api-python-client"]
async fn needs_python_google_discovery() {
    accept("discovery_shapes.py").await;
}
