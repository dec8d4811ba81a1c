//! Tells the tests whether this machine has the MySQL server that `packaging/mysql.sh` brings: without it they are ignored, and
//! counted as such.

fn main() {
    let server = "/opt/flytt-mysql/usr/sbin/mysqld";
    println!("cargo::rustc-check-cfg=cfg(without_mysql)");
    println!("cargo::rerun-if-changed={server}");
    if !std::path::Path::new(server).exists() {
        println!("cargo::rustc-cfg=without_mysql");
    }
}
