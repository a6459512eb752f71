"""The console in a real browser, wide and narrow: nothing breaks its policy, nothing runs over, everything works by keyboard."""

from __future__ import annotations

import os
import re
import socket
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import uvicorn
from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

from tandem.core.principal import Principal
from tandem.governance.authorise import ALL
from tests.console.house import EVIL, PASSWORD, House, every_page

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDTHS = (1280, 390)
EDITOR = Principal(id="key_ada", name="ada", team="risk", role="editor")
LISTEN = "window.broken = []; document.addEventListener('securitypolicyviolation', e => window.broken.push(e.violatedDirective));"

pytestmark = pytest.mark.browser


@dataclass
class Visit:
    """A browser's window on the console, and all it complained about."""

    page: Page
    base: str
    house: House
    complaints: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.add_init_script(LISTEN)
        self.page.on("console", self._said)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))

    def _said(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.complaints.append(message.text)

    def sign_in(self, name: str = "ops") -> None:
        """With a key, by keyboard alone."""
        self.page.goto(self.base)
        self.unfold()
        self.page.keyboard.type(self.house.tokens[name])
        self.page.keyboard.press("Enter")
        expect(self.page.get_by_role("navigation", name="Main")).to_be_visible()

    def unfold(self) -> None:
        """The field for a key stands below those for a name and a password, which have the focus."""
        expect(self.page.get_by_label("Name or e-mail")).to_be_focused()
        self.page.get_by_text("Sign in with a key").press("Enter")
        self.page.keyboard.press("Tab")
        expect(self.page.get_by_label("Key", exact=True)).to_be_focused()

    def arrive(self, address: str) -> None:
        """Waits for a page whose address holds this, and for its script: a key that is pressed before is nobody's."""
        expect(self.page).to_have_url(re.compile(address))
        self.page.wait_for_load_state()

    def check(self, where: str) -> None:
        """Nothing complained, nothing was kept from loading, nothing runs over the edge, nothing planted ran."""
        assert self.complaints == [], where
        assert self.page.evaluate("window.broken") == [], where
        assert self.page.evaluate("window.stolen") is None, where
        over = self.page.evaluate("document.documentElement.scrollWidth - document.documentElement.clientWidth")
        assert over == 0, f"{where} runs over by {over} px"


@pytest.fixture(scope="module")
def address(house: House) -> Iterator[str]:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(house.app(), log_level="warning", lifespan="off", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, name="console")
        thread.start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        server.should_exit = True
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    if not CHROMIUM.exists():
        if os.environ.get("CI") == "true":
            pytest.fail(f"{CHROMIUM} is missing, and CI must not pass without it.")
        pytest.skip(f"{CHROMIUM} is missing.")
    expect.set_options(timeout=20_000)  # a run's page asks every two seconds, and the machine may be busy
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=str(CHROMIUM), args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(params=WIDTHS)
def visit(request: pytest.FixtureRequest, browser: Browser, address: str, house: House) -> Iterator[Visit]:
    context = browser.new_context(viewport={"width": request.param, "height": 844})
    yield Visit(context.new_page(), address, house)
    context.close()


def test_every_page_is_whole(visit: Visit, house: House) -> None:
    visit.sign_in()
    for name, path in every_page(house).items():
        answer = visit.page.goto(visit.base + path)
        assert answer is not None
        if name == "missing":
            assert answer.status == 404
            visit.complaints.clear()  # the browser itself reports the status
        visit.check(name)
        assert visit.page.locator("h1").count() == 1


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_scheme_follows_the_reader(visit: Visit, scheme: str) -> None:
    visit.page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]  # the literals of the parameters
    visit.sign_in()
    ground = visit.page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(18, 21, 25)") == (scheme == "dark")


def test_the_keyboard_reaches_everything(visit: Visit, house: House) -> None:
    visit.sign_in()
    visit.page.goto(f"{visit.base}/traces/{house.marks['decide']}")
    visit.page.keyboard.press("Tab")
    expect(visit.page.get_by_role("link", name="Skip to the content")).to_be_focused()
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator("#main")).to_be_focused()
    stages = visit.page.locator(".waterfall summary")
    while not stages.first.evaluate("each => each === document.activeElement"):
        visit.page.keyboard.press("Tab")
        assert visit.page.evaluate("document.activeElement !== document.body"), "the focus left the page before the waterfall"
    visit.page.keyboard.press("Enter")
    expect(visit.page.locator(".waterfall details[open]")).to_have_count(1)
    outline = stages.first.evaluate("each => getComputedStyle(each).outlineStyle")
    assert outline == "solid"


def test_content_comes_when_it_is_unfolded(visit: Visit, house: House) -> None:
    visit.sign_in()
    visit.page.goto(f"{visit.base}/traces/{house.marks['plain1']}")
    said = visit.page.get_by_text("A biopsy review is advised.")
    expect(said).to_have_count(0)
    visit.page.get_by_text("What was asked and answered").click()
    expect(said.first).to_be_visible()
    expect(visit.page.locator("#content")).to_have_count(1)
    visit.check("content")


def test_a_run_is_followed_to_its_end(visit: Visit, house: House) -> None:
    run = house.runs.create("train", f"followed {EVIL}", by=EDITOR)
    house.runs.start(run.id)
    house.runs.progress(run.id, 0.1, "fold 1 of 5")
    visit.sign_in()
    visit.page.goto(f"{visit.base}/runs/{run.id}")
    expect(visit.page.get_by_text("fold 1 of 5")).to_be_visible()
    house.runs.progress(run.id, 0.6, "fold 4 of 5")
    expect(visit.page.get_by_text("fold 4 of 5")).to_be_visible()
    house.runs.finish(run.id, "failed", reason=f"the disk is full {EVIL}")
    expect(visit.page.get_by_text("the disk is full")).to_be_visible()
    assert visit.page.locator("#run").get_attribute("hx-trigger") is None
    visit.check("run")


def test_reviews_are_judged_from_the_keyboard(visit: Visit, house: House) -> None:
    names = ("plain1", "plain2", "plain3")
    waiting = house.ask_anew(*names)
    visit.sign_in("ada")
    visit.page.goto(f"{visit.base}/reviews?endpoint=assistant")
    visit.page.get_by_role("link", name="Begin to review").press("Enter")
    visit.arrive(waiting[0].id)
    expect(visit.page.get_by_text("3 waiting")).to_be_visible()
    visit.page.keyboard.press("s")
    visit.arrive(waiting[1].id)
    visit.check("review")
    visit.page.keyboard.press("r")
    visit.arrive(waiting[2].id)
    visit.page.keyboard.press("c")
    visit.page.keyboard.type("sure: 43, was u")  # letters that are keys elsewhere
    visit.page.keyboard.press("Control+Enter")
    visit.arrive(waiting[0].id)  # what was skipped comes last
    visit.page.keyboard.press("z")
    expect(visit.page.get_by_label("What would have been right")).to_have_value("sure: 43, was u")
    visit.check("review again")
    said = {review.trace: review.opinion for review in house.queue.reviews.list(ALL)}
    assert [said[house.marks[name]] for name in names] == [None, "right", "wrong"]


def test_the_audit_is_verified_in_place(visit: Visit) -> None:
    visit.sign_in("iris")
    visit.page.goto(f"{visit.base}/audit")
    visit.page.get_by_role("button", name="Verify the chain").click()
    expect(visit.page.locator("#verdict")).to_contain_text("intact")
    assert visit.page.url == f"{visit.base}/audit"
    visit.check("audit")


def test_a_link_from_another_site_finds_the_one_who_is_signed_in(visit: Visit) -> None:
    visit.sign_in("vera")
    visit.page.goto("about:blank")
    visit.page.set_content(f'<a href="{visit.base}/runs">a run</a>')
    visit.page.get_by_role("link").click()
    expect(visit.page.get_by_role("heading", name="Runs")).to_be_visible()


def test_signing_out_by_keyboard(visit: Visit) -> None:
    visit.sign_in("vera")
    visit.page.get_by_role("button", name="Sign out").press("Enter")
    visit.unfold()
    visit.page.keyboard.type("tdm_nonsense")
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_role("alert")).to_contain_text("not known here")


def test_a_person_signs_in_by_keyboard_and_changes_the_team(visit: Visit) -> None:
    visit.page.goto(visit.base)
    expect(visit.page.get_by_label("Name or e-mail")).to_be_focused()
    visit.page.keyboard.type("nina")
    visit.page.keyboard.press("Tab")
    visit.page.keyboard.type(PASSWORD)
    visit.page.keyboard.press("Enter")
    expect(visit.page.get_by_text("admin · risk")).to_have_count(1)
    visit.check("home of a person")
    visit.page.get_by_label("Act in the team").select_option("sales")
    visit.page.get_by_role("button", name="Switch").click()
    expect(visit.page.get_by_text("viewer · sales")).to_have_count(1)
    visit.page.goto(f"{visit.base}/people")
    visit.check("people as a viewer")


def test_somebody_is_invited_and_joins(visit: Visit, browser: Browser) -> None:
    visit.sign_in()
    visit.page.goto(f"{visit.base}/people")
    name = f"guest-{visit.page.viewport_size['width']}"  # type: ignore[index]  # it has one
    invite = visit.page.locator('form[action="/people/invite"]')
    invite.get_by_label("E-mail").fill(f"{name}@example.org")
    invite.get_by_label("Team").select_option("sales")
    invite.get_by_role("button", name="Make a link").click()
    link = visit.page.locator('section[role="status"] code').inner_text()
    visit.check("people with a link")
    context = browser.new_context(viewport=visit.page.viewport_size)
    guest = Visit(context.new_page(), visit.base, visit.house)
    guest.page.goto(f"{visit.base}/join/{visit.house.link}")
    guest.check("join with a long address")
    guest.page.goto(link.replace("http://console", visit.base))
    expect(guest.page.get_by_label("Name")).to_have_value(name)
    expect(guest.page.get_by_label("Password")).to_be_focused()
    guest.check("join")
    guest.page.keyboard.type(PASSWORD)
    guest.page.get_by_label("The same again").fill(PASSWORD)
    guest.page.keyboard.press("Enter")
    expect(guest.page.get_by_text("viewer · sales")).to_have_count(1)
    context.close()


def test_a_key_is_made_rotated_and_revoked(visit: Visit) -> None:
    visit.sign_in()
    visit.page.goto(f"{visit.base}/keys")
    name = f"made-{visit.page.viewport_size['width']}"  # type: ignore[index]  # it has one
    form = visit.page.locator('form[action="/keys"]')
    form.get_by_label("Name").fill(name)
    form.get_by_label("Networks").fill("10.0.0.0/8, 192.0.2.7")
    form.get_by_role("button", name="Make").click()
    token = visit.page.locator('section[role="status"] code')
    first = token.inner_text()
    assert first.startswith("tdm_")
    visit.check("keys with a new one")
    row = visit.page.get_by_role("row", name=name)
    expect(row).to_contain_text("192.0.2.7/32")
    row.get_by_text("Change").click()
    row.get_by_role("button", name="New token").click()
    expect(token).not_to_have_text(first)
    row.get_by_text("Change").click()
    row.get_by_role("button", name="Revoke for good").click()
    expect(row).to_contain_text("revoked")
    visit.check("keys")


def test_without_scripts_it_works_all_the_same(browser: Browser, address: str, house: House) -> None:
    context = browser.new_context(java_script_enabled=False, viewport={"width": 390, "height": 844})
    page = context.new_page()
    page.goto(address)
    page.get_by_text("Sign in with a key").click()
    page.get_by_label("Key", exact=True).fill(house.tokens["iris"])
    page.get_by_role("button", name="Sign in with the key").click()
    page.goto(f"{address}/audit")
    page.get_by_role("button", name="Verify the chain").click()
    expect(page.locator("#verdict")).to_contain_text("intact")
    page.goto(f"{address}/traces/{house.marks['plain1']}")
    page.get_by_text("What was asked and answered").click()
    page.get_by_role("link", name="Read it").click()
    expect(page.get_by_text("A biopsy review is advised.").first).to_be_visible()
    context.close()
