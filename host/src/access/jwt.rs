//! JSON Web Tokens (RFC 7519) of one issuer, by the rules of RFC 8725: a list of algorithms that the
//! token cannot change, keys of the issuer alone, and a check of every claim that says whom it is for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use conclave_core::ids::Tenant;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Algorithm, Validation};
use serde_json::{Map, Value};
use url::Url;

use super::keys::{Error, Remote, Source};
use super::{Bearer, Caller, Denied, Role};

/// What a token may be signed with: no shared secrets, and never nothing at all.
const ALGORITHMS: [Algorithm; 9] = [
    Algorithm::RS256,
    Algorithm::RS384,
    Algorithm::RS512,
    Algorithm::PS256,
    Algorithm::PS384,
    Algorithm::PS512,
    Algorithm::ES256,
    Algorithm::ES384,
    Algorithm::EdDSA,
];

/// Issuers' tokens have some kB; a header of HTTP/2 has at most 16 kB here.
const BYTES_MAX: usize = 16 << 10;

/// Characters of a subject that are kept as a caller's name.
const NAME_CHARS_MAX: usize = 128;

/// Where an issuer's keys are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Keys {
    /// In a file, which is read again when it changes.
    File(PathBuf),
    /// Behind a URL.
    Url {
        /// `https`, or `http` on loopback.
        url: Url,
        /// The least time between two fetches.
        refresh: Duration,
        /// How long fetched keys are used without asking again.
        age_max: Duration,
    },
}

/// Which tokens are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What `iss` must be.
    pub issuer: String,
    /// What `aud` must be, or must hold.
    pub audience: String,
    /// With what they are signed.
    pub keys: Keys,
    /// The claim that has the role, or roles; dots lead into objects.
    pub role_claim: String,
    /// The claim that has the tenant; `None` makes everybody the default tenant's.
    pub tenant_claim: Option<String>,
    /// How far the clocks of issuer and host may be apart.
    pub leeway: Duration,
}

/// Checks tokens.
#[derive(Debug)]
pub(super) struct Jwt {
    settings: Settings,
    keys: Source,
}

impl Jwt {
    pub(super) fn new(settings: Settings) -> Result<Self, Error> {
        let keys = match settings.keys.clone() {
            Keys::File(path) => Source::file(path)?,
            Keys::Url {
                url,
                refresh,
                age_max,
            } => Source::Url(Box::new(Remote::new(url, refresh, age_max)?)),
        };
        Ok(Self { settings, keys })
    }

    /// Whose token it is.
    pub(super) async fn check(&self, bearer: &Bearer) -> Result<Arc<Caller>, Denied> {
        let token = bearer.reveal();
        if token.len() > BYTES_MAX {
            return Err(Denied::Malformed("it is too long"));
        }
        let header = jsonwebtoken::decode_header(token).map_err(|error| match error.kind() {
            // An algorithm that the library does not know: `none`, for one.
            ErrorKind::Json(_) if has_algorithm(token) => Denied::Algorithm,
            ErrorKind::InvalidAlgorithmName => Denied::Algorithm,
            _ => Denied::Malformed("its header is not that of a JWT"),
        })?;
        if !ALGORITHMS.contains(&header.alg) {
            return Err(Denied::Algorithm);
        }
        let id = header.kid.as_deref();
        let keys = self.keys.keys(|keys| keys.find(id, header.alg).is_some());
        let keys = keys.await.ok_or(Denied::KeysUnavailable)?;
        let key = keys.find(id, header.alg).ok_or(Denied::UnknownKey)?;
        let decoded =
            jsonwebtoken::decode::<Map<String, Value>>(token, key, &self.validation(header.alg));
        let claims = decoded.map_err(|error| denied(error.kind()))?.claims;
        self.caller(&claims).map(Arc::new)
    }

    fn validation(&self, algorithm: Algorithm) -> Validation {
        let mut validation = Validation::new(algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.settings.issuer]);
        validation.set_audience(&[&self.settings.audience]);
        validation.validate_nbf = true;
        validation.leeway = self.settings.leeway.as_secs();
        validation
    }

    fn caller(&self, claims: &Map<String, Value>) -> Result<Caller, Denied> {
        let settings = &self.settings;
        let claimed = claim(claims, &settings.role_claim);
        let claimed = claimed.ok_or_else(|| Denied::NoRole(settings.role_claim.clone()))?;
        let role = role(claimed).ok_or_else(|| Denied::UnknownRole(settings.role_claim.clone()))?;
        let tenant = match &settings.tenant_claim {
            None => Tenant::default(),
            Some(name) => claim(claims, name)
                .and_then(Value::as_str)
                .and_then(|text| Tenant::parse(text).ok())
                .ok_or_else(|| Denied::NoTenant(name.clone()))?,
        };
        let name = claims.get("sub").and_then(Value::as_str);
        let name = name.unwrap_or("a token without subject").chars();
        Ok(Caller {
            name: name
                .filter(|c| !c.is_control())
                .take(NAME_CHARS_MAX)
                .collect(),
            tenant,
            role,
        })
    }
}

/// Whether a header that cannot be read names an algorithm.
fn has_algorithm(token: &str) -> bool {
    use base64::Engine as _;
    let header = token.split('.').next().unwrap_or_default();
    let header = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(header);
    let header = header
        .ok()
        .and_then(|text| serde_json::from_slice::<Value>(&text).ok());
    header.is_some_and(|header| header.get("alg").is_some_and(Value::is_string))
}

fn denied(kind: &ErrorKind) -> Denied {
    match kind {
        ErrorKind::InvalidSignature => Denied::Forged,
        ErrorKind::ExpiredSignature => Denied::Expired,
        ErrorKind::ImmatureSignature => Denied::NotYetValid,
        ErrorKind::InvalidIssuer => Denied::WrongIssuer,
        ErrorKind::InvalidAudience => Denied::WrongAudience,
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Denied::Algorithm,
        ErrorKind::MissingRequiredClaim(claim) | ErrorKind::InvalidClaimFormat(claim) => {
            Denied::Claim(claim.clone())
        }
        // The library tells a signature that it cannot even decode in many ways.
        ErrorKind::InvalidEcdsaKey
        | ErrorKind::InvalidEddsaKey
        | ErrorKind::InvalidRsaKey(_)
        | ErrorKind::InvalidKeyFormat
        | ErrorKind::Signing(_)
        | ErrorKind::Provider(_) => Denied::Forged,
        _ => Denied::Malformed("it is not a JWT"),
    }
}

/// The claim of this name; else of this path through objects.
fn claim<'a>(claims: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    if let Some(value) = claims.get(name) {
        return Some(value);
    }
    let (outer, inner) = name.split_once('.')?;
    claim(claims.get(outer)?.as_object()?, inner)
}

/// The role that may do most, of those that are named.
fn role(claimed: &Value) -> Option<Role> {
    match claimed {
        Value::String(name) => Role::of(name),
        Value::Array(names) => names
            .iter()
            .filter_map(|name| Role::of(name.as_str()?))
            .max(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use jsonwebtoken::{EncodingKey, Header};
    use serde_json::json;

    use super::*;

    /// A key, with the file of its public half.
    struct Issuer {
        key: EncodingKey,
        dir: tempfile::TempDir,
        public: Vec<u8>,
    }

    impl Issuer {
        fn new() -> Self {
            let pair = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
            let public = pair.public_key_raw().to_vec();
            let dir = tempfile::tempdir().unwrap();
            let x = URL_SAFE_NO_PAD.encode(&public);
            let jwks = json!({ "keys": [{ "kty": "OKP", "crv": "Ed25519", "x": x, "kid": "k" }] });
            std::fs::write(dir.path().join("jwks.json"), jwks.to_string()).unwrap();
            let key = EncodingKey::from_ed_der(pair.serialized_der());
            Self { key, dir, public }
        }

        fn checker(&self) -> Jwt {
            let settings = Settings {
                issuer: "https://issuer".to_owned(),
                audience: "conclave".to_owned(),
                keys: Keys::File(self.dir.path().join("jwks.json")),
                role_claim: "access.roles".to_owned(),
                tenant_claim: Some("tenant".to_owned()),
                leeway: Duration::from_secs(30),
            };
            Jwt::new(settings).unwrap()
        }

        fn sign(&self, claims: &Value) -> String {
            let mut header = Header::new(Algorithm::EdDSA);
            header.kid = Some("k".to_owned());
            jsonwebtoken::encode(&header, claims, &self.key).unwrap()
        }

        async fn told(&self, token: &str) -> Result<Arc<Caller>, Denied> {
            self.checker().check(&Bearer::new(token)).await
        }
    }

    fn claims() -> Value {
        let now = jsonwebtoken::get_current_timestamp();
        json!({
            "iss": "https://issuer", "aud": "conclave", "exp": now + 600, "sub": "ann",
            "tenant": "a", "access": { "roles": ["viewer", "operator", "admin"] },
        })
    }

    fn with(name: &str, value: Value) -> Value {
        let mut claims = claims();
        claims[name] = value;
        claims
    }

    fn without(name: &str) -> Value {
        let mut claims = claims();
        claims.as_object_mut().unwrap().remove(name);
        claims
    }

    #[tokio::test]
    async fn the_claims_say_who_calls() {
        let issuer = Issuer::new();
        let caller = issuer.told(&issuer.sign(&claims())).await.unwrap();
        let expected = Caller {
            name: "ann".to_owned(),
            tenant: Tenant::new("a"),
            role: Role::Operator,
        };
        assert_eq!(*caller, expected);
        let many = with("aud", json!(["other", "conclave"]));
        assert!(issuer.told(&issuer.sign(&many)).await.is_ok());
    }

    #[tokio::test]
    async fn every_wrong_claim_is_told() {
        let issuer = Issuer::new();
        let now = jsonwebtoken::get_current_timestamp();
        let claim = |name: &str| Denied::Claim(name.to_owned());
        let (role, tenant) = ("access.roles".to_owned(), "tenant".to_owned());
        for (claims, denied) in [
            (with("exp", json!(now - 31)), Denied::Expired),
            (with("nbf", json!(now + 60)), Denied::NotYetValid),
            (with("iss", json!("https://other")), Denied::WrongIssuer),
            (with("aud", json!("other")), Denied::WrongAudience),
            (with("aud", json!(["other"])), Denied::WrongAudience),
            (without("exp"), claim("exp")),
            (without("iss"), claim("iss")),
            (without("aud"), claim("aud")),
            (without("access"), Denied::NoRole(role.clone())),
            (
                with("access", json!({ "roles": "root" })),
                Denied::UnknownRole(role.clone()),
            ),
            (
                with("access", json!({ "roles": [] })),
                Denied::UnknownRole(role),
            ),
            (without("tenant"), Denied::NoTenant(tenant.clone())),
            (
                with("tenant", json!("a b")),
                Denied::NoTenant(tenant.clone()),
            ),
            (with("tenant", json!(["a"])), Denied::NoTenant(tenant)),
        ] {
            let told = issuer.told(&issuer.sign(&claims)).await;
            assert_eq!(told, Err(denied), "{claims}");
        }
        let late = with("exp", json!(now - 20));
        assert!(
            issuer.told(&issuer.sign(&late)).await.is_ok(),
            "clocks differ"
        );
    }

    #[tokio::test]
    async fn a_token_that_its_issuer_did_not_sign_is_refused() {
        let (issuer, other) = (Issuer::new(), Issuer::new());
        let forged = other.sign(&claims());
        assert_eq!(issuer.told(&forged).await, Err(Denied::Forged));

        let sound = issuer.sign(&claims());
        let (body, signature) = sound.rsplit_once('.').unwrap();
        let stronger = with("tenant", json!("b"));
        let stronger = URL_SAFE_NO_PAD.encode(stronger.to_string());
        let header = body.split('.').next().unwrap();
        let patched = format!("{header}.{stronger}.{signature}");
        assert_eq!(issuer.told(&patched).await, Err(Denied::Forged));
        assert_eq!(issuer.told(&format!("{body}.")).await, Err(Denied::Forged));

        let mut header = Header::new(Algorithm::EdDSA);
        header.kid = Some("x".to_owned());
        let unknown = jsonwebtoken::encode(&header, &claims(), &other.key).unwrap();
        assert_eq!(issuer.told(&unknown).await, Err(Denied::UnknownKey));
    }

    #[tokio::test]
    async fn the_token_does_not_choose_how_it_is_checked() {
        let issuer = Issuer::new();
        let body = URL_SAFE_NO_PAD.encode(claims().to_string());
        for algorithm in ["none", "None", "nOnE", "HS256", "ES512", "dir"] {
            let header = json!({ "alg": algorithm, "typ": "JWT", "kid": "k" }).to_string();
            let unsigned = format!("{}.{body}.", URL_SAFE_NO_PAD.encode(header));
            assert_eq!(
                issuer.told(&unsigned).await,
                Err(Denied::Algorithm),
                "{algorithm}"
            );
        }
        // The public key as a shared secret.
        let mut header = Header::new(Algorithm::HS256);
        header.kid = Some("k".to_owned());
        let secret = EncodingKey::from_secret(&issuer.public);
        let confused = jsonwebtoken::encode(&header, &claims(), &secret).unwrap();
        assert_eq!(issuer.told(&confused).await, Err(Denied::Algorithm));
    }

    #[tokio::test]
    async fn what_is_no_jwt_is_malformed() {
        let issuer = Issuer::new();
        let long = format!("a.{}.c", "b".repeat(BYTES_MAX));
        for text in ["", "a", "a.b", "a.b.c", "..", "eyJ9.e30.", &long] {
            let told = issuer.told(text).await;
            assert!(
                matches!(told, Err(Denied::Malformed(_))),
                "{text}: {told:?}"
            );
        }
    }
}
