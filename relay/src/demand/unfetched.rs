//! Why a domain's MTA-STS policy could not be had, as reports tell it apart (RFC 8460, 4.3).

use mail::tlsrpt::ResultType;
use web::HttpsError;

pub(super) struct Unfetched {
    pub(super) result: ResultType,
    pub(super) why: String,
}

impl Unfetched {
    /// What was fetched is no policy.
    pub(super) fn invalid(why: String) -> Self {
        Self { result: ResultType::StsPolicyInvalid, why }
    }
}

impl From<String> for Unfetched {
    fn from(why: String) -> Self {
        Self { result: ResultType::StsPolicyFetchError, why }
    }
}

impl From<HttpsError> for Unfetched {
    fn from(error: HttpsError) -> Self {
        let result = match &error {
            HttpsError::Tls(..) => ResultType::StsWebpkiInvalid,
            HttpsError::Body(..) => ResultType::StsPolicyInvalid,
            HttpsError::Address(..)
            | HttpsError::Connect(..)
            | HttpsError::Http(..)
            | HttpsError::Late(..)
            | HttpsError::Question(_) => ResultType::StsPolicyFetchError,
        };
        Self { result, why: error.to_string() }
    }
}
