//! The bad moments, on real servers under load: each part is killed, frozen, starved or misled where it hurts most, and
//! afterwards nothing acknowledged is lost, one server holds, and nothing is left behind.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on ends there")]

mod moments;

use flytt::stage::MIGRATION;
use moments::{FAST, Holder, Scene};

const CUTOVER: [&str; 2] = ["cutover", MIGRATION];
const RESUME: [&str; 2] = ["resume", MIGRATION];

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_dies_in_the_hold() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.begins("cut-hold-1").await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.must(&RESUME).await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_dies_inside_the_fence() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.begins("cut-fence").await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.must(&RESUME).await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_dies_when_the_target_is_promoted() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.begins("cut-promote").await;
    cutover.kill_hard().await;
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Source).await;
    scene.must(&RESUME).await;
    scene.ends(canary, Holder::Source).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_controller_dies_after_the_surrender() {
    let scene = Scene::set(10, FAST).await;
    let canary = scene.canary().await;
    scene.following().await;
    let mut cutover = scene.flytt(&CUTOVER);
    cutover.done("cut-surrender").await;
    cutover.kill_hard().await;
    // Without a person: the agents complete it between themselves.
    scene.recovered(&canary).await;
    scene.assert_holder(Holder::Target).await;
    scene.must(&RESUME).await;
    scene.ends(canary, Holder::Target).await;
}
