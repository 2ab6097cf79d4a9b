//! stub
use executor::MainCx;
use std::process::ExitCode;
pub(super) async fn run(_cx: &MainCx) -> std::io::Result<ExitCode> {
    Ok(ExitCode::SUCCESS)
}
