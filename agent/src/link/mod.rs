//! tmp
use std::path::Path;
use flytt_proto::{failure::Failure, name::Migration, v1};
pub const PORT: u16 = 5432;
#[derive(Debug)]
pub struct Tunnel;
impl Tunnel {
    pub async fn listen<F, Fut>(_d: &Path, _m: Migration, _dial: F) -> Result<Self, Failure> where F: Fn() -> Fut + Send + Sync + 'static, Fut: Future<Output = Result<tonic::transport::Channel, Failure>> + Send { Ok(Tunnel) }
}
pub fn serve_link(_f: tonic::Streaming<v1::Frame>, _s: &Path, _a: impl Fn(&[u8]) -> crate::engine::Admission + Send + 'static) -> tokio_stream::Empty<Result<v1::Frame, tonic::Status>> { tokio_stream::empty() }
