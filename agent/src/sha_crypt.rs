//! The hash that MySQL keeps of a `caching_sha2_password` account: SHA-crypt with SHA-256 ("Unix crypt using SHA-256 and SHA-512",
//! U. Drepper, 2008), with a salt of twenty bytes instead of at most sixteen. Which password, and where it is kept, is `secret`'s.

use aws_lc_rs::digest::{Context, SHA256, digest};

const ALPHABET: &[u8; 64] = b"./0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// Rounds that MySQL 8 makes (`caching_sha2_password_digest_rounds`): of a random password they protect nothing more.
const ROUNDS: usize = 5000;

/// As `CREATE USER … IDENTIFIED WITH caching_sha2_password AS` takes it; MySQL writes the rounds in thousands, hexadecimal.
pub(crate) fn verifier(password: &[u8], salt: &[u8; 20]) -> String {
    let salt = salt.map(|byte| char::from(ALPHABET[usize::from(byte & 63)]));
    let salt: String = salt.iter().collect();
    format!("$A${:03X}${salt}{}", ROUNDS / 1000, hash(password, salt.as_bytes()))
}

fn hash(password: &[u8], salt: &[u8]) -> String {
    let all = |parts: &[&[u8]]| {
        let mut context = Context::new(&SHA256);
        parts.iter().for_each(|part| context.update(part));
        context.finish()
    };
    let repeated = |from: &[u8], length: usize| from.iter().copied().cycle().take(length).collect::<Vec<u8>>();

    let b = all(&[password, salt, password]);
    let mut first = Context::new(&SHA256);
    first.update(password);
    first.update(salt);
    first.update(&repeated(b.as_ref(), password.len()));
    let mut bits = password.len();
    while bits > 0 {
        first.update(if bits & 1 == 1 { b.as_ref() } else { password });
        bits >>= 1;
    }
    let mut a = first.finish();
    let p = repeated(digest(&SHA256, &password.repeat(password.len())).as_ref(), password.len());
    let s = repeated(digest(&SHA256, &salt.repeat(16 + usize::from(a.as_ref()[0]))).as_ref(), salt.len());
    for round in 0..ROUNDS {
        let (begin, end): (&[u8], &[u8]) = if round % 2 == 1 { (&p, a.as_ref()) } else { (a.as_ref(), &p) };
        let (third, seventh): (&[u8], &[u8]) = (if round % 3 == 0 { b"" } else { &s }, if round % 7 == 0 { b"" } else { &p });
        a = all(&[begin, third, seventh, end]);
    }
    encoded(a.as_ref())
}

/// Three bytes as four characters, the low bits first; which bytes go together is the format's own.
fn encoded(digest: &[u8]) -> String {
    let mut text = String::with_capacity(43);
    let mut put = |bytes: [u8; 3], characters: usize| {
        let mut word = u32::from_be_bytes([0, bytes[0], bytes[1], bytes[2]]);
        for _ in 0..characters {
            text.push(char::from(ALPHABET[(word & 63) as usize]));
            word >>= 6;
        }
    };
    let (mut i, mut j, mut k) = (0, 10, 20);
    for _ in 0..10 {
        put([digest[i], digest[j], digest[k]], 4);
        (i, j, k) = (k + 1, i + 1, j + 1);
    }
    put([0, digest[31], digest[30]], 3);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_the_specification_s_own() {
        assert_eq!(hash(b"Hello world!", b"saltstring"), "5B8vYYiY.CVt1RlTTf8KbXBH3hsxY/GNooZaBBGWEc5");
    }

    #[test]
    fn a_verifier_is_as_long_as_the_server_wants_it() {
        let verifier = verifier(b"x", &[0xff; 20]);
        assert!(verifier.len() == 70 && verifier.starts_with("$A$005$zzzz"), "{verifier}");
    }
}
