"""What is looked for. A new form is a row; a new detector is a row here and a line in `DETECTORS`.

Sources: issuers' documentation of key formats, GitHub's and GitLab's lists of secret-scanning patterns; for numbers see
`checks`; injection phrases are those that published attack collections share.
"""

from __future__ import annotations

from collections.abc import Iterable

from tandem.core.errors import Invalid
from tandem.scorers.guards import checks
from tandem.scorers.guards.automaton import Check, Rule, always
from tandem.scorers.guards.pattern import DIGITS, EVERY, LETTERS, Class
from tandem.scorers.guards.phrases import PHRASES

DETECTORS = {
    "card": "payment card numbers (issuer ranges, Luhn)",
    "iban": "bank accounts (country length, mod 97)",
    "email": "e-mail addresses",
    "national-id": "identity numbers of 13 countries (check digits where they exist)",
    "credential": "keys and tokens in published formats, passwords in addresses",
    "private-key": "private keys in PEM",
    "injection": "phrases that try to overrule the instructions",
}
"""Name → what it finds."""

_NO_DIGIT: Class = EVERY - DIGITS
_NO_WORD: Class = EVERY - DIGITS - LETTERS - frozenset(map(ord, "_"))
_NO_NUMBER: Class = _NO_WORD - frozenset(map(ord, "."))
_NO_TOKEN: Class = _NO_WORD - frozenset(map(ord, "-"))
_LOCAL: Class = DIGITS | LETTERS | frozenset(map(ord, "_%+-"))
_B64 = "[A-Za-z0-9+/=]"
_BLANK = "(\\s|\\\\n|\\\\r)"
_USER = "[^ \\t\\r\\n:/?#@\\[\\]<>\"'(){}]"
_PEM = (
    "-----BEGIN ([A-Z0-9]{2,12} ){0,3}PRIVATE KEY( BLOCK)?-----"
    f"({_BLANK}{{0,4}}(Proc-Type|DEK-Info|Version|Comment|Hash): [^\\n\\\\]{{1,}}){{0,6}}"
    f"({_BLANK}{{0,6}}{_B64}{{16,}})*({_BLANK}{{1,6}}{_B64}{{1,80}})?"
    f"({_BLANK}{{0,6}}-----END ([A-Z0-9]{{2,12}} ){{0,3}}PRIVATE KEY( BLOCK)?-----)?"
)


def _token(
    name: str, pattern: str, *needs: str, trigger: str = "", bounded: bool = True, longest: int = 512, check: Check = always
) -> Rule:
    """A key in a published format: nothing that could belong to it stands around it."""
    return Rule(
        name=f"credential/{name}",
        pattern=pattern,
        before=_NO_WORD,
        after=_NO_WORD if bounded else EVERY,
        check=check,
        needs=() if trigger else needs or (_literal(pattern),),
        trigger=trigger,
        longest=longest,
    )


def _literal(pattern: str) -> str:
    """The plain characters a pattern begins with."""
    size = next((place for place, char in enumerate(pattern) if char in "([{\\?*+|."), len(pattern))
    return pattern[:size].lower()


_RUN = r"\d(?:[ .:+-]?\d){5}"


def _number(
    name: str, pattern: str, check: Check, *, before: Class = _NO_NUMBER, any_case: bool = False, trigger: str = _RUN
) -> Rule:
    return Rule(
        name=f"national-id/{name}",
        pattern=pattern,
        before=before,
        after=_NO_WORD,
        check=check,
        any_case=any_case,
        trigger=trigger,
        longest=40,
    )


RULES: tuple[Rule, ...] = (
    Rule(name="private-key/pem", pattern=_PEM, needs=("private key",), longest=32_768),
    Rule(
        name="card",
        pattern="\\d([ -]?\\d){12,18}",
        before=_NO_DIGIT - frozenset(map(ord, ".")),
        after=_NO_DIGIT,
        check=checks.card,
        longest=40,
    ),
    Rule(
        name="iban",
        pattern="[A-Z]{2}\\d{2}([ -]?[A-Z0-9]){11,29}",
        before=_NO_WORD,
        after=_NO_WORD,
        check=checks.iban,
        longest=70,
        any_case=True,
    ),
    Rule(
        name="email",
        pattern="[A-Za-z0-9_%+\\a-][A-Za-z0-9._%+'\\a-]{0,63}@([A-Za-z0-9\\a]([A-Za-z0-9\\a-]{0,61}[A-Za-z0-9\\a])?\\.){1,6}[A-Za-z\\a]{2,24}",
        before=EVERY - _LOCAL,
        after=_NO_TOKEN,
        needs=("@", "＠"),
    ),
    _number("us-ssn", "\\d{3}[ -]\\d{2}[ -]\\d{4}", checks.us_ssn, before=_NO_NUMBER - frozenset(map(ord, "-"))),
    _number("es", "([XYZ]-?\\d{7}|\\d{8})-?[A-Z]", checks.es_id, any_case=True),
    _number(
        "it",
        "[A-Z]{6}\\d{2}[ABCDEHLMPRST]\\d{2}[A-Z]\\d{3}[A-Z]",
        checks.it_code,
        any_case=True,
        trigger="\\d\\d[A-Za-z]\\d\\d[A-Za-z]\\d{3}[A-Za-z]",
    ),
    _number("fr", "[12]( ?\\d){4} ?(\\d{2}|2[AB])( ?\\d){8}", checks.fr_nir, any_case=True),
    _number("de", "[1-9]\\d( ?\\d){9}", checks.de_tax),
    _number("uk-nhs", "\\d{3}[ -]\\d{3}[ -]\\d{4}", checks.uk_nhs),
    _number("br", "\\d{3}\\.?\\d{3}\\.?\\d{3}-?\\d{2}", checks.br_cpf),
    _number("pl", "\\d{11}", checks.pl_pesel),
    _number("se", "(\\d{2})?\\d{6}[-+]\\d{4}", checks.se_number),
    _number("be", "\\d{2}\\.?\\d{2}\\.?\\d{2}-?\\d{3}\\.?\\d{2}", checks.be_number),
    _number("fi", "\\d{6}[-+A-FU-Y]\\d{3}[0-9A-FHJ-NPR-Y]", checks.fi_code),
    _number("in", "[2-9]\\d{3}[ -]\\d{4}[ -]\\d{4}", checks.in_aadhaar),
    _number("cn", "[1-9]\\d{16}[0-9Xx]", checks.cn_id),
    _token("aws", "(AKIA|ASIA|ABIA|ACCA|A3T[A-Z0-9])[A-Z0-9]{16}", trigger="(?:AKIA|ASIA|ABIA|ACCA|A3T)[A-Z0-9]{12}"),
    _token("github", "gh[pousr]_[A-Za-z0-9]{36,}", "ghp_", "gho_", "ghu_", "ghs_", "ghr_"),
    _token("github-fine", "github_pat_[A-Za-z0-9_]{22,}"),
    _token(
        "gitlab",
        "(gl(pat|ptt|dt|rt|soat|cbt|ft|imt|agent|oas)-|gloas-|GR1348941)[A-Za-z0-9_-]{20,}",
        *(f"gl{kind}-" for kind in ("pat", "ptt", "dt", "rt", "soat", "cbt", "ft", "imt", "agent", "oas")),
        "gloas-",
        "gr1348941",
    ),
    _token("slack", "xox[abeoprs]-([A-Za-z0-9]{1,20}-){1,6}[A-Za-z0-9]{8,80}"),
    _token(
        "slack-hook",
        "hooks\\.slack\\.com/(services|workflows)/[A-Za-z0-9]{8,14}/[A-Za-z0-9]{8,14}/[A-Za-z0-9]{18,30}",
        "hooks.slack.com",
    ),
    _token("stripe", "(sk|rk)_(live|test)_[A-Za-z0-9]{16,}", "_live_", "_test_"),
    _token("openai", "sk-((proj|svcacct|admin|None)-[A-Za-z0-9_-]{20,}|[A-Za-z0-9]{20}T3BlbkFJ[A-Za-z0-9]{20}|[A-Za-z0-9]{48})"),
    _token("anthropic", "sk-ant-[a-z0-9]{3,8}-[A-Za-z0-9_-]{24,}"),
    _token("google", "AIza[A-Za-z0-9_-]{35}"),
    _token("google-oauth", "GOCSPX-[A-Za-z0-9_-]{28}"),
    _token("hugging-face", "hf_[A-Za-z0-9]{30,48}"),
    _token("npm", "npm_[A-Za-z0-9]{36}"),
    _token("pypi", "pypi-AgE[A-Za-z0-9_-]{50,}"),
    _token("sendgrid", "SG\\.[A-Za-z0-9_-]{20,24}\\.[A-Za-z0-9_-]{39,50}", trigger="SG\\.[A-Za-z0-9_-]{20}"),
    _token("mailgun", "key-[0-9a-f]{32}"),
    _token("mailchimp", "[0-9a-f]{32}-us\\d{1,2}", *(f"-us{digit}" for digit in range(10))),
    _token("twilio", "(AC|SK)[0-9a-f]{32}", trigger="(?:AC|SK)[0-9a-f]{32}"),
    _token("shopify", "shp(at|ca|pa|ss)_[A-Fa-f0-9]{32}", "shpat_", "shpca_", "shppa_", "shpss_"),
    _token("square", "sq0(atp|csp|idp)-[A-Za-z0-9_-]{22,43}"),
    _token("digital-ocean", "do[opr]_v1_[a-f0-9]{64}", "_v1_"),
    _token("telegram", "\\d{8,10}:[A-Za-z0-9_-]{35}", trigger=":[A-Za-z0-9_-]{35}"),
    _token(
        "discord",
        "[MNO][A-Za-z0-9_-]{23,27}\\.[A-Za-z0-9_-]{6}\\.[A-Za-z0-9_-]{27,38}",
        trigger="\\.[A-Za-z0-9_-]{6}\\.[A-Za-z0-9_-]{27}",
    ),
    _token("azure-storage", "AccountKey=[A-Za-z0-9+/]{86}==", bounded=False),
    _token("jwt", "eyJ[A-Za-z0-9_-]{8,}\\.[A-Za-z0-9_-]{4,}(\\.[A-Za-z0-9_-]*)?", longest=4096, check=checks.jwt),
    _token("artifactory", "(AKC|AP[0-9A-F])[A-Za-z0-9]{10,90}", trigger="(?:AKC|AP[0-9A-F])[A-Za-z0-9]{10}"),
    _token("softlayer", "softlayer\\.com/rest/v3/[a-z0-9]{10,64}", "softlayer.com"),
    _token("tandem", "(tdm_[0-9A-Za-z]{43}|tdml_[A-Za-z0-9_-]{60,})", "tdm_", "tdml_"),
    Rule(
        name="credential/address",
        pattern=f"[A-Za-z][A-Za-z0-9+.-]{{1,20}}://{_USER}{{1,64}}:{_USER}{{3,128}}@",
        before=_NO_WORD,
        trigger="://[^ \\t\\r\\n:/?#@]{1,64}:[^ \\t\\r\\n:/?#@]{3,128}@",
        longest=220,
    ),
    *PHRASES,
)


def rules_for(detectors: Iterable[str]) -> tuple[Rule, ...]:
    """The rules of detectors (`credential`) or of single forms (`credential/github`), in the table's order.

    Raises:
        Invalid: there is no such detector.
    """
    wanted = set(detectors)
    known = set(DETECTORS) | {rule.name for rule in RULES}
    for name in sorted(wanted - known):
        raise Invalid(f"There is no detector '{name}'.", hint=f"Detectors: {', '.join(DETECTORS)}.", field="detector")
    return tuple(rule for rule in RULES if rule.name in wanted or rule.detector in wanted)
