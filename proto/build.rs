//! Compiles the `.proto` files with protox, so that nobody needs protoc.
use prost::Message as _;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo::rerun-if-changed=flytt");
    let mut compiler = protox::Compiler::new(["."])?;
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(["flytt/v1/action.proto", "flytt/v1/agent.proto", "flytt/v1/storage.proto", "flytt/v1/verify.proto"])?;
    let set = compiler.file_descriptor_set();
    let out = std::path::PathBuf::from(std::env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    #[allow(clippy::disallowed_methods, reason = "a build product need not be durable")]
    std::fs::write(out.join("flytt.fds"), set.encode_to_vec())?;
    tonic_prost_build::configure()
        .bytes(".flytt.v1.Frame")
        // Many times larger than every other outcome.
        .boxed(".flytt.v1.Outcome.kind.probed")
        // The same of actions: two machines as they were measured.
        .boxed(".flytt.v1.Action.kind.judge")
        // Ledger, journal and `--json` keep and show these messages as JSON.
        .type_attribute(".", "#[derive(serde::Serialize, serde::Deserialize)]")
        // A field that came later is absent in older ones.
        .message_attribute(".flytt.v1", "#[serde(default)]")
        .field_attribute(".flytt.v1.Artefact.claim", "#[serde(with = \"crate::hex\")]")
        .field_attribute(".flytt.v1.Artefact.certificate", "#[serde(with = \"crate::hex\")]")
        .field_attribute(".flytt.v1.Artefact.signature", "#[serde(with = \"crate::hex\")]")
        .compile_fds(set)?;
    Ok(())
}
