"""The page at / in headless Chromium, with a real server. Nothing is loaded from the internet."""

import contextlib
import os
import re
from pathlib import Path

import pytest
from playwright.sync_api import expect, sync_playwright
from system import TARGET, Server, lib, need, run

PICTURES = Path(os.environ.get("PICTURES", TARGET / "page-pictures"))
TIMEOUT_MS = 60_000  # far beyond what anything here takes on a busy machine
DESKTOP = {"width": 1280, "height": 900}
PHONE = {"width": 360, "height": 740}
NARROW = {"width": 320, "height": 640}
VIEWS = ["", "translate(-70 -60) scale(1.35)", "translate(400 0) scale(-1 1)", "translate(-250 -330) scale(2.3)"]
# Rows beside the generated ones, a drawing in place of photos, and a front end for the earlier API. Of the products,
# 8900 has long words and prices that are no sale, 9001 has everything, 9002 is made of markup, 9003 has nothing but a
# name, and 9004 is sold out.
FILES = Path(__file__).with_name("page")
PRODUCTS = 59  # generated ones
PARKA = "#/products/9001"

expect.set_options(timeout=TIMEOUT_MS)


@pytest.fixture(scope="module")
def csv(csv):
    for rows in FILES.glob("*.csv"):
        with (csv / rows.name).open("a") as file:
            file.write("\n" + rows.read_text())  # there is no line end at the end of generated files
    return csv


@pytest.fixture(scope="module")
def browser():
    need("fc-list", "fontconfig")
    for font, package in {"Inter": "fonts-inter", "P052": "fonts-urw-base35"}.items():  # as on a desktop
        if not run("fc-list", font):
            lib("apt_install $1", package)
    no_internet = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
    with sync_playwright() as playwright:
        yield playwright.chromium.launch(executable_path=need("chromium", "chromium"), args=[no_internet])


@pytest.fixture
def visit(browser, server, request):
    """Opens a page in a browser context of its own. At the end of the block its console must have no errors, warnings
    and violations of the Content-Security-Policy but those with a text of `expected`; there must be one of each."""

    @contextlib.contextmanager
    def visit(address="", *, site=server.url, viewport=DESKTOP, scheme="light", photos=True, expected=()):
        phone = viewport is PHONE
        context = browser.new_context(
            viewport=viewport, color_scheme=scheme, is_mobile=phone, has_touch=phone, reduced_motion="reduce"
        )
        context.set_default_timeout(TIMEOUT_MS)
        context.add_init_script(path=FILES / "probes.js")
        page, errors = context.new_page(), []
        page.route("https://images.unsplash.com/*", answer_with_drawing if photos else lambda route: route.abort())
        page.on("console", lambda message: message.type in ("error", "warning") and errors.append(message.text))
        page.on("pageerror", lambda error: errors.append(f"uncaught: {error}"))
        page.on("dialog", lambda dialog: (errors.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        try:
            page.goto(f"{site}/{address}")
            yield page
        except Exception:
            page.screenshot(path=PICTURES / f"failed-{request.node.name}.png")
            print(f"console: {errors}")
            raise
        finally:
            context.close()
        assert [error for error in errors if not any(text in error for text in expected)] == []
        assert [text for text in expected if not any(text in error for error in errors)] == []

    return visit


def answer_with_drawing(route):
    named = re.search(r"/photo-([a-z]+)-(\d)", route.request.url)
    colour, view = (named[1], int(named[2])) if named else ("gray", 0)
    drawing = (FILES / "photo.svg").read_text().replace("COLOUR", colour).replace("VIEW", VIEWS[view % len(VIEWS)])
    route.fulfill(body=drawing, content_type="image/svg+xml")


def all_is_there(page):
    expect(page.locator("main h1")).to_be_visible()
    expect(page.locator(".loading, .bone, .pending")).to_have_count(0)
    page.evaluate("Promise.allSettled([...document.images].map((image) => image.decode()))")


def take_picture(page, name):
    """A picture of docs/page.md."""
    all_is_there(page)
    page.screenshot(path=PICTURES / f"{name}.png")


def radio(page, name):
    return page.get_by_role("radio", name=name, exact=True)


def test_catalogue_page_by_page(visit, server):
    with visit() as page:
        heading = page.locator(".heading p")
        expect(heading).to_have_text("64 products, page 1 of 6")
        expect(page.locator(".card")).to_have_count(12)
        expect(page).to_have_title("Catalogue, page 1 · Atelier")
        take_picture(page, "catalogue-light")
        pager = page.get_by_role("navigation", name="Pages")
        expect(pager.get_by_role("link")).to_have_text(["Next", "Last"])
        pager.get_by_role("link", name="Next").click()
        expect(heading).to_have_text("64 products, page 2 of 6")
        expect(page.locator("h1")).to_be_focused()
        pager.get_by_role("link", name="Last").click()
        expect(heading).to_have_text("64 products, page 6 of 6")
        expect(page.locator(".card")).to_have_count(4)
        expect(pager.get_by_role("link")).to_have_text(["First", "Previous"])
        pager.get_by_label("Page").fill("3")
        pager.get_by_label("Page").press("Enter")
        expect(heading).to_have_text("64 products, page 3 of 6")
        assert page.url.endswith("/#/?page=3"), page.url
        page.go_back()
        expect(heading).to_have_text("64 products, page 6 of 6")
        page.goto(f"{server.url}/#/?page=99")
        expect(page.locator("h1")).to_have_text("There is no page 99")
        page.get_by_role("link", name="To the last page").click()
        expect(heading).to_have_text("64 products, page 6 of 6")
    with visit("#/?page=0", expected=["400"]) as page:
        expect(page.get_by_role("alert")).to_contain_text("the parameter page must be a number from 1 to 2147483647")


@pytest.mark.parametrize("address", ["#/nowhere", "#//[", "#/[", "#//example.org:x/", "#%", "#/products/", "#/\\\\["])
def test_unknown_address(visit, address):
    with visit(address) as page:
        expect(page.locator("h1")).to_have_text("There is nothing at this address")
        page.get_by_role("link", name="To the catalogue").click()
        expect(page.locator(".heading p")).to_have_text("64 products, page 1 of 6")


def test_product_and_back(visit):
    with visit("#/?page=6", scheme="dark") as page:
        link = page.get_by_role("link", name="Harbour Parka")
        link.scroll_into_view_if_needed()
        top = page.evaluate("scrollY")
        link.click()
        expect(page.locator("h1")).to_have_text("Harbour Parka")
        expect(page.locator("h1")).to_be_focused()
        expect(page).to_have_title("Harbour Parka · Atelier")
        # The default style is checked; its price, and the one it replaces.
        expect(radio(page, "Rust")).to_be_checked()
        expect(page.locator(".tick:visible")).to_have_count(1)
        expect(page.locator(".price ins")).to_have_text("Sale price $179.99")
        expect(page.locator(".price del")).to_have_css("text-decoration-line", "line-through")
        expect(page.locator(".price")).to_contain_text("25% off")
        expect(page.locator(".features li")).to_have_text(
            ["Shell Waxed cotton", "Lining Recycled wool", "Pockets Four, one of them inside", "Taped seams"]
        )
        # Each product once, without the one that is shown, in one request.
        expect(page.locator(".related .card")).to_have_count(4)
        page.locator("#log summary").click()
        expect(page.locator("#log tbody tr")).to_have_count(3)
        expect(page.locator("#log tbody tr").first).to_contain_text("GET /products?ids=3,1,9004,8200")
        expect(page.locator("#log tbody td:nth-child(4)").first).to_have_text(re.compile(r"^[\d.,]+ ms$"))
        take_picture(page, "product-dark")
        page.go_back()
        expect(page.locator(".heading p")).to_contain_text("page 6 of 6")
        expect(link).to_be_focused()
        assert page.evaluate("scrollY") == top
        # It was requested again, and has not changed.
        expect(page.locator("#log tbody tr").first).to_contain_text("/products?page=6&count=12304")


def test_style_changes_price_photos_and_sizes(visit):
    with visit(PARKA) as page:
        expect(page.locator(".thumbnail")).to_have_count(4)
        take_picture(page, "product-light")
        radio(page, "Slate").check()
        expect(page.locator(".price")).to_have_text("$240.00")
        expect(page.locator(".thumbnail")).to_have_count(6)
        expect(page.locator(".large img")).to_have_attribute("alt", "Slate, photo 1 of 6")
        expect(page.locator(".chip")).to_have_text(["XS out of stock", "S", "M", "L", "XL out of stock"])
        radio(page, "M").check()
        # The size stays chosen in a style that has it, and the address names the style.
        radio(page, "Moss").check()
        expect(page.locator(".price")).to_have_text("$255.00")
        expect(radio(page, "M")).to_be_checked()
        expect(page.locator(".thumbnail")).to_have_count(0)
        assert page.url.endswith(f"{PARKA}?style=90003"), page.url
        page.reload()
        expect(radio(page, "Moss")).to_be_checked()
        radio(page, "Chalk").check()
        expect(page.locator(".large")).to_have_text("There are no photos of this style")
        expect(page.locator(".order")).to_have_text("There are no sizes of this style.")
        page.go_back()  # choosing styles makes no entries in the history
        expect(page).to_have_url("about:blank")


def test_size_limits_quantity(visit):
    with visit(f"{PARKA}?style=90001") as page:
        quantity, total = page.get_by_label("Quantity"), page.locator(".sum")
        expect(quantity).to_be_disabled()
        expect(total).to_have_text("Choose a size.")
        for size in ("XS", "XL"):
            expect(page.get_by_role("radio", name=f"{size} out of stock")).to_be_disabled()
        for size, most, stock in (("S", 3, "S, only 3 left"), ("M", 15, "M, in stock"), ("L", 15, "L, in stock")):
            radio(page, size).check()
            expect(quantity.locator("option")).to_have_text([str(number) for number in range(1, most + 1)])
            expect(page.locator(".sizes .chosen")).to_have_text(stock)
        quantity.select_option("12")
        expect(total).to_have_text("$2,880.00 for 12 in size L, SKU 90004")
        # Where another size or style has less, or nothing, it says so, and the choice is kept.
        for choice, expected in [
            ("M", "$2,880.00 for 12 in size M, SKU 90003"),
            ("Rust", "$179.99 for 1 in size M, SKU 90007. Only 1 of the 12 are in stock."),
            ("Moss", "$1,785.00 for 7 in size M, SKU 90009. Only 7 of the 12 are in stock."),
            ("Slate", "$2,880.00 for 12 in size M, SKU 90003"),
            ("L", "$2,880.00 for 12 in size L, SKU 90004"),
            ("Rust", "Size L is not in stock in this style. Choose a size."),
            ("Moss", "Size L is not in stock in this style. Choose a size."),
            ("Rust", "Size L is not in stock in this style. Choose a size."),
            ("S", "$1,439.92 for 8 in size S, SKU 90006. Only 8 of the 12 are in stock."),
        ]:
            radio(page, choice).check()
            expect(total).to_have_text(expected)
        quantity.select_option("3")
        expect(total).to_have_text("$539.97 for 3 in size S, SKU 90006")
    with visit("#/products/9004") as page:
        expect(page.locator(".sum")).to_have_text("All sizes of this style are sold out.")
        expect(page.get_by_label("Quantity")).to_be_disabled()


def test_keys_alone(visit):
    with visit("#/?page=6") as page:
        expect(page.locator(".card")).to_have_count(4)

        def press(*keys):
            for key in keys:
                page.keyboard.press(key)

        def tab_to(target, key="Tab"):
            for _ in range(40):
                if target.evaluate("(element) => element === document.activeElement"):
                    assert target.evaluate("hasVisibleFocus"), f"the focus cannot be seen on {target}"
                    return
                press(key)
            raise AssertionError(f"{key} does not lead to {target}")

        press("Tab")
        expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
        press("Enter")
        expect(page.locator("main")).to_be_focused()
        tab_to(page.get_by_role("link", name="Harbour Parka"))
        press("Enter")
        expect(page.locator("h1")).to_be_focused()
        # From the heading on: thumbnails are before it.
        tab_to(radio(page, "Rust"))
        press("ArrowLeft")
        expect(radio(page, "Slate")).to_be_checked()
        expect(radio(page, "Slate")).to_be_focused()
        tab_to(page.get_by_role("button", name="Next photo"), "Shift+Tab")
        large = page.locator(".large img")
        press("Enter")
        expect(large).to_have_attribute("alt", "Slate, photo 2 of 6")
        press("ArrowRight", "ArrowRight", "ArrowLeft")
        expect(large).to_have_attribute("alt", "Slate, photo 3 of 6")
        tab_to(page.get_by_role("radio", name="Slate, photo 3 of 6"), "Shift+Tab")
        press("ArrowDown")
        expect(large).to_have_attribute("alt", "Slate, photo 4 of 6")
        press("ArrowUp", "ArrowUp", "ArrowUp", "ArrowUp")
        expect(large).to_have_attribute("alt", "Slate, photo 6 of 6")
        tab_to(radio(page, "S"))
        press("Space", "ArrowRight")
        expect(radio(page, "M")).to_be_checked()
        tab_to(page.get_by_label("Quantity"))
        press("7")
        expect(page.locator(".sum")).to_have_text("$1,680.00 for 7 in size M, SKU 90003")
        tab_to(page.locator(".related .card").first)
        tab_to(page.locator("#log summary"))
        press("Enter")
        expect(page.locator("#log table")).to_be_visible()


def test_missing_product(visit):
    with visit(expected=["404"]) as page:
        page.get_by_label("Product no.").fill("77777")
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_role("alert")).to_contain_text("There is no product 77777")
        expect(page.get_by_role("alert")).to_contain_text("no product has the id 77777")
        expect(page.locator("#log-last")).to_contain_text("GET /products/77777/profile 404, ")
        page.get_by_role("link", name="To the catalogue").click()
        expect(page.locator(".card")).to_have_count(12)
    with visit("#/products/x%2Fy", expected=["400"]) as page:
        expect(page.get_by_role("alert")).to_contain_text("product_id in the path must be a number")
    with visit("#/products/9003") as page:
        expect(page.locator(".price")).to_have_text("$0.00")
        expect(page.locator(".order")).to_contain_text("comes in no style")
        expect(page.locator(".related")).to_contain_text("Nothing is related to this product.")


def test_server_away_and_back(visit, database):
    unreachable = ["Failed to load resource: net::ERR_"]
    with Server(database.url) as server, visit("#/?page=2", site=server.url, expected=unreachable) as page:
        expect(page.locator(".card")).to_have_count(12)
        button = page.get_by_role("button", name="Try now")
        server.stop()
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        expect(page.locator(".countdown")).to_contain_text("Next try in")
        expect(page.locator("#log-last")).to_contain_text("no answer")
        button.focus()
        # It retries by itself, and the focus stays where it is.
        expect(page.locator("#log tr.bad").nth(2)).to_be_attached()
        expect(button).to_be_focused()
        take_picture(page, "away")
        server.start()
        expect(page.locator(".heading p")).to_contain_text("page 3 of 6")
        server.stop()
        page.get_by_role("link", name="Next").click()
        expect(page.locator(".countdown")).to_contain_text("Next try in")
        server.start()
        button.press("Enter")
        expect(page.locator(".heading p")).to_contain_text("page 4 of 6")


def test_database_away_and_back(visit, database):
    """With a product that no other test requests: what is in the server's cache is answered all the same."""
    with visit(expected=["503"]) as page:
        expect(page.locator(".card")).to_have_count(12)
        database.query("ALTER TABLE atelier.styles RENAME TO gone")
        try:
            page.get_by_label("Product no.").fill("17")
            page.get_by_role("button", name="Go").click()
            expect(page.get_by_role("alert")).to_contain_text("The server cannot answer now")
            expect(page.locator(".countdown")).to_contain_text("Next try in")
        finally:
            database.query("ALTER TABLE atelier.gone RENAME TO styles")
        expect(page.locator(".facts h1")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_photos_that_cannot_be_loaded(visit, scheme):
    with visit(PARKA, scheme=scheme, photos=False, expected=["net::ERR_FAILED"]) as page:
        expect(page.locator(".large")).to_have_text("This photo cannot be loadedfrom images.unsplash.com")
        expect(page.get_by_role("radio", name="Rust, photo 2 of 4: This photo cannot be loaded")).to_be_enabled()
        expect(page.locator(".swatch").first).to_contain_text("no photo")
        expect(page.locator(".thumbnail .words")).to_have_count(4)
        expect(page.locator(".swatch .words")).to_have_count(3)
        for words in page.locator(".words :is(strong, small, [aria-hidden])").all():
            assert words.evaluate("contrast") >= 4.5, words.text_content()
        page.get_by_role("button", name="Next photo").click()
        expect(page.locator(".counter")).to_have_text("2 / 4")


@pytest.mark.parametrize(
    ("viewport", "scheme"), [(DESKTOP, "light"), (PHONE, "light"), (PHONE, "dark"), (NARROW, "light")]
)
@pytest.mark.parametrize(
    "address",
    ["", "#/?page=5", PARKA, "#/products/8900", "#/products/9002", "#/" + "W" * 200, "#/products/" + "9" * 200],
    ids=lambda address: address[:16],
)
def test_viewport(visit, address, viewport, scheme):
    """Nothing is wider than it, long words and markup included."""
    with visit(address, viewport=viewport, scheme=scheme, expected=["400"] if "999" in address else []) as page:
        all_is_there(page)
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
        assert (max(colour) < 64) == (scheme == "dark")
        if (address, scheme) == (PARKA, "dark"):
            take_picture(page, "phone-product-dark")
        for size in page.locator(".chip input:enabled").all():
            size.check()
        all_is_there(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= viewport["width"]


@pytest.mark.parametrize(("style", "price"), [(89002, "$50.00"), (89003, "$60.00")])
def test_sale_price_that_is_not_lower(visit, style, price):
    with visit(f"#/products/8900?style={style}") as page:
        expect(page.locator(".price")).to_have_text(price)
        assert page.locator(".price :is(ins, del, .off)").count() == 0


def test_markup_is_text(visit):
    with visit("#/products/9002") as page:
        expect(page.locator("h1")).to_have_text("<img src=x onerror=alert(1)>")
        expect(page.locator(".facts .slogan")).to_have_text("<script>alert(2)</script>")
        expect(page.locator(".description")).to_have_text('&lt;b&gt; <b>bold</b> "quoted"')
        expect(page.locator(".price")).to_have_text("$1,234,567.50")
        expect(page.locator(".large")).to_contain_text("This photo has no address that a browser may load")
        expect(page.locator(".features li")).to_have_text("<u>feature</u> <u>value</u>")
        assert page.locator("main :is(script, b, u, i, img)").count() == 0


@pytest.mark.parametrize("slash", ["", "/"])
def test_base_path(visit, database, slash):
    """The page and /docs find their files and the API, with a slash at the end of the path and without one."""
    with (
        Server(database.url, "--base-path", "/api/shop", "--compat") as server,
        visit(f"api/shop{slash}#/products/9001?style=90004", site=server.url) as page,
    ):
        # As without --compat: what is null is not shown.
        expect(page.locator(".large")).to_have_text("There are no photos of this style")
        expect(page.locator(".order")).to_have_text("There are no sizes of this style.")
        expect(page.locator("#log-last")).to_contain_text("GET /api/shop/products?ids=")
        page.get_by_role("link", name="Atelier").click()
        expect(page.locator(".heading p")).to_have_text("64 products, page 1 of 6")
        page.get_by_role("link", name="API").click()
        expect(page).to_have_url(f"{server.url}/api/shop/docs")
        page.locator("#operations-Catalogue-getProduct button").first.click()
        page.get_by_role("button", name="Execute").click()
        expect(page.locator(".request-url")).to_contain_text(f"{server.url}/api/shop/products/1")
        expect(page.locator(".live-responses-table .response-col_status").last).to_contain_text("200")


def test_earlier_front_end(visit, database):
    """A front end of another origin, written for the earlier API: earlier.html says what it relies on."""
    base = "/api/fec2/hr-rfp"
    with (
        Server(database.url, "--compat", "--base-path", base) as server,
        visit(f"earlier.html?api={server.url}{base}", site=FILES.as_uri()) as page,
    ):
        expect(page.locator("#products li")).to_have_count(64)
        page.get_by_role("button", name="Harbour Parka").click()
        expect(page.locator("h1")).to_have_text("Harbour Parka")
        expect(page.locator(".style")).to_have_text(["Slate", "Rust", "Moss", "Chalk"])
        expect(page.locator(".style img")).to_have_count(3)
        expect(page.locator(".size")).to_have_text(["S: 8", "M: 1", "L: 0"])
        page.get_by_role("button", name="Chalk").click()
        expect(page.locator(".size")).to_have_text(["OUT OF STOCK"])
        expect(page.locator("#related li")).to_have_count(6)
