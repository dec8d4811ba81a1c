pub mod canary;
pub mod stage;
