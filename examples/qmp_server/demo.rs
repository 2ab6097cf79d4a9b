//! stub
use std::process::ExitCode;
use executor::MainCx;
pub(super) async fn run(_cx: &MainCx) -> std::io::Result<ExitCode> { Ok(ExitCode::SUCCESS) }
