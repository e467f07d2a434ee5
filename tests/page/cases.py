#!/usr/bin/env python3
"""What the page at / must do, in Chromium and with the real server: tests/page/run starts it.

usage: cases.py SERVER PORT ADMIN-PORT PICTURES [CASE…]
"""

import os
import re
import sys
import time

from playwright.sync_api import expect, sync_playwright
from stage import DESKTOP, PHONE, Server, Stage, other_site, sql, until

# Nothing of a browser's that talks to somewhere else, or needs a screen.
OPTIONS = [
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-gpu",
    "--disable-quic",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
    "--no-first-run",
]
PARKA = "#/products/9001"

# Around an element itself, around the label that stands for it, or around the photo in that.
HAS_VISIBLE_FOCUS = """(element) => {
    const style = (element) => element ? getComputedStyle(element) : {outlineStyle: "none", boxShadow: "none"};
    const label = element.closest("label");
    return [element, label].some((element) => style(element).outlineStyle !== "none")
        || style(label?.querySelector(".photo")).boxShadow.includes("0px 5px");
}"""


# Black on white is 21. What is seen through something else has no ratio.
CONTRAST = """(element) => {
    const ancestors = [];
    for (let at = element; at; at = at.parentElement) ancestors.push(getComputedStyle(at));
    if (ancestors.some(({opacity}) => opacity !== "1")) return 0;
    const luminance = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map((part) => part / 255)
            .map((part) => (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4));
        return 0.2126 * parts[0] + 0.7152 * parts[1] + 0.0722 * parts[2];
    };
    const behind = ancestors.find(({backgroundColor}) => !/, 0\\)$/.test(backgroundColor)).backgroundColor;
    const [dark, light] = [luminance(ancestors[0].color), luminance(behind)].sort((one, other) => one - other);
    return (light + 0.05) / (dark + 0.05);
}"""


def catalogue_page_by_page(stage, _):
    with stage.page() as page:
        heading = page.locator(".heading p")
        expect(heading).to_have_text("64 products, page 1 of 6")
        expect(page.locator(".card")).to_have_count(12)
        expect(page).to_have_title("Catalogue, page 1 · Atelier")
        stage.picture(page, "catalogue-light")
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
        page.goto(f"{stage.url}/#/?page=99")
        expect(page.locator("h1")).to_have_text("There is no page 99")
        page.get_by_role("link", name="To the last page").click()
        expect(heading).to_have_text("64 products, page 6 of 6")
    with stage.page("#/?page=0", expected=["400"]) as page:
        expect(page.get_by_role("alert")).to_contain_text("the parameter page must be a number from 1 to 2147483647")
    for address in ("#/nowhere", "#//[", "#/[", "#//example.org:x/", "#%", "#/products/", "#/\\\\["):
        with stage.page(address) as page:
            expect(page.locator("h1")).to_have_text("There is nothing at this address")
            page.get_by_role("link", name="To the catalogue").click()
            expect(heading_of(page)).to_have_text("64 products, page 1 of 6")


def heading_of(page):
    return page.locator(".heading p")


def product_and_back(stage, _):
    with stage.page("#/?page=6") as page:
        link = page.get_by_role("link", name="Harbour Parka")
        link.scroll_into_view_if_needed()
        top = page.evaluate("scrollY")
        link.click()
        expect(page.locator("h1")).to_have_text("Harbour Parka")
        expect(page.locator("h1")).to_be_focused()
        expect(page).to_have_title("Harbour Parka · Atelier")
        # The style that is marked as default, ticked; its price, and the one it replaces.
        expect(page.get_by_role("radio", name="Rust", exact=True)).to_be_checked()
        expect(page.locator(".tick:visible")).to_have_count(1)
        expect(page.locator(".price ins")).to_have_text("Sale price $179.99")
        expect(page.locator(".price del")).to_have_css("text-decoration-line", "line-through")
        expect(page.locator(".price")).to_contain_text("25% off")
        expect(page.locator(".features li")).to_have_text(
            ["Shell Waxed cotton", "Lining Recycled wool", "Pockets Four, one of them inside", "Taped seams"]
        )
        # Each once, without the product itself, in one request.
        expect(page.locator(".related .card")).to_have_count(4)
        page.locator("#log summary").click()
        expect(page.locator("#log tbody tr")).to_have_count(3)
        expect(page.locator("#log tbody tr").first).to_contain_text("GET /products?ids=3,1,9004,8200")
        expect(page.locator("#log tbody td:nth-child(4)").first).to_have_text(re.compile(r"^[\d.,]+ ms$"))
        page.go_back()
        expect(page.locator(".heading p")).to_contain_text("page 6 of 6")
        expect(link).to_be_focused()
        until(page, "(top) => scrollY === top", arg=top)
        # It was asked for again, and has not changed.
        expect(page.locator("#log tbody tr").first).to_contain_text("/products?page=6&count=12304")


def style_changes_price_photos_and_sizes(stage, _):
    with stage.page(PARKA) as page:
        expect(page.locator(".thumbnail")).to_have_count(4)
        stage.picture(page, "product-light")
        page.get_by_role("radio", name="Slate", exact=True).check()
        expect(page.locator(".price")).to_have_text("$240.00")
        expect(page.locator(".thumbnail")).to_have_count(6)
        expect(page.locator(".large img")).to_have_attribute("alt", "Slate, photo 1 of 6")
        expect(page.locator(".chip")).to_have_text(["XS out of stock", "S", "M", "L", "XL out of stock"])
        page.get_by_role("radio", name="M", exact=True).check()
        # What is chosen stays with what has it, and the address names the style.
        page.get_by_role("radio", name="Moss", exact=True).check()
        expect(page.locator(".price")).to_have_text("$255.00")
        expect(page.get_by_role("radio", name="M", exact=True)).to_be_checked()
        expect(page.locator(".thumbnail")).to_have_count(0)
        assert page.url.endswith(f"{PARKA}?style=90003"), page.url
        page.reload()
        expect(page.get_by_role("radio", name="Moss", exact=True)).to_be_checked()
        page.get_by_role("radio", name="Chalk", exact=True).check()
        expect(page.locator(".large")).to_have_text("There are no photos of this style")
        expect(page.locator(".order")).to_have_text("There are no sizes of this style.")
        page.go_back()  # choosing styles makes no entries in the history
        expect(page).to_have_url("about:blank")


def size_limits_quantity(stage, _):
    with stage.page(f"{PARKA}?style=90001") as page:
        quantity, total = page.get_by_label("Quantity"), page.locator(".sum")
        expect(quantity).to_be_disabled()
        expect(total).to_have_text("Choose a size.")
        for size in ("XS", "XL"):
            expect(page.get_by_role("radio", name=f"{size} out of stock")).to_be_disabled()
        for size, most, stock in (("S", 3, "S, only 3 left"), ("M", 15, "M, in stock"), ("L", 15, "L, in stock")):
            page.get_by_role("radio", name=size, exact=True).check()
            expect(quantity.locator("option")).to_have_text([str(number) for number in range(1, most + 1)])
            expect(page.locator(".sizes .chosen")).to_have_text(stock)
        quantity.select_option("12")
        expect(total).to_have_text("$2,880.00 for 12 in size L, SKU 90004")
        # Where another size or style has less, or nothing, it says so, and forgets nothing.
        page.get_by_role("radio", name="M", exact=True).check()
        expect(total).to_have_text("$2,880.00 for 12 in size M, SKU 90003")
        page.get_by_role("radio", name="Rust", exact=True).check()
        expect(total).to_have_text("$179.99 for 1 in size M, SKU 90007. Only 1 of the 12 are in stock.")
        page.get_by_role("radio", name="Moss", exact=True).check()
        expect(total).to_have_text("$1,785.00 for 7 in size M, SKU 90009. Only 7 of the 12 are in stock.")
        page.get_by_role("radio", name="Slate", exact=True).check()
        expect(total).to_have_text("$2,880.00 for 12 in size M, SKU 90003")
        page.get_by_role("radio", name="L", exact=True).check()
        for style in ("Rust", "Moss"):
            page.get_by_role("radio", name=style, exact=True).check()
            expect(total).to_have_text("Size L is not in stock in this style. Choose a size.")
        page.get_by_role("radio", name="Rust", exact=True).check()
        page.get_by_role("radio", name="S", exact=True).check()
        expect(total).to_have_text("$1,439.92 for 8 in size S, SKU 90006. Only 8 of the 12 are in stock.")
        quantity.select_option("3")
        expect(total).to_have_text("$539.97 for 3 in size S, SKU 90006")
    with stage.page("#/products/9004") as page:
        expect(page.locator(".sum")).to_have_text("All sizes of this style are sold out.")
        expect(page.get_by_label("Quantity")).to_be_disabled()


def keys_alone(stage, _):
    with stage.page("#/?page=6") as page:
        expect(page.locator(".card")).to_have_count(4)

        def press(*keys):
            for key in keys:
                page.keyboard.press(key)

        def tab_to(target, key="Tab"):
            for _ in range(40):
                if target.evaluate("(element) => element === document.activeElement"):
                    assert target.evaluate(HAS_VISIBLE_FOCUS), f"the focus cannot be seen on {target}"
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
        tab_to(page.get_by_role("radio", name="Rust", exact=True))
        press("ArrowLeft")
        expect(page.get_by_role("radio", name="Slate", exact=True)).to_be_checked()
        expect(page.get_by_role("radio", name="Slate", exact=True)).to_be_focused()
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
        tab_to(page.get_by_role("radio", name="S", exact=True))
        press("Space", "ArrowRight")
        expect(page.get_by_role("radio", name="M", exact=True)).to_be_checked()
        tab_to(page.get_by_label("Quantity"))
        press("7")
        expect(page.locator(".sum")).to_have_text("$1,680.00 for 7 in size M, SKU 90003")
        tab_to(page.locator(".related .card").first)
        tab_to(page.locator("#log summary"))
        press("Enter")
        expect(page.locator("#log table")).to_be_visible()


def what_is_missing(stage, _):
    with stage.page(expected=["404"]) as page:
        page.get_by_label("Product no.").fill("77777")
        page.get_by_role("button", name="Go").click()
        expect(page.get_by_role("alert")).to_contain_text("There is no product 77777")
        expect(page.get_by_role("alert")).to_contain_text("no product has the id 77777")
        expect(page.locator("#log-last")).to_contain_text("GET /products/77777/profile 404, ")
        stage.picture(page, "missing")
        page.get_by_role("link", name="To the catalogue").click()
        expect(page.locator(".card")).to_have_count(12)
    with stage.page("#/products/x%2Fy", expected=["400"]) as page:
        expect(page.get_by_role("alert")).to_contain_text("product_id in the path must be a number")
    with stage.page("#/products/9003") as page:
        expect(page.locator(".price")).to_have_text("$0.00")
        expect(page.locator(".order")).to_contain_text("comes in no style")
        expect(page.locator(".related")).to_contain_text("Nothing is related to this product.")


def server_away_and_back(stage, server):
    with stage.page("#/?page=2", expected=["Failed to load resource: net::ERR_"]) as page:
        expect(page.locator(".card")).to_have_count(12)
        button = page.get_by_role("button", name="Try now")
        server.stop()
        page.get_by_role("link", name="Next").click()
        expect(page.get_by_role("alert")).to_contain_text("The server does not answer")
        expect(page.locator(".countdown")).to_contain_text("Next try in")
        expect(page.locator("#log-last")).to_contain_text("no answer")
        button.focus()
        # It asks again by itself, and takes nothing away from who reads it.
        until(page, "document.querySelectorAll('#log tr.bad').length >= 3")
        expect(button).to_be_focused()
        stage.picture(page, "away")
        server.start()
        expect(page.locator(".heading p")).to_contain_text("page 3 of 6")
        server.stop()
        page.get_by_role("link", name="Next").click()
        expect(page.locator(".countdown")).to_contain_text("Next try in")
        server.start()
        button.press("Enter")
        expect(page.locator(".heading p")).to_contain_text("page 4 of 6")


def database_away_and_back(stage, _):
    """A product that no other case asks for: what is in the server's cache is answered all the same."""
    with stage.page(expected=["503"]) as page:
        expect(page.locator(".card")).to_have_count(12)
        sql("ALTER TABLE atelier.styles RENAME TO gone")
        try:
            page.goto(f"{stage.url}/#/products/17")
            expect(page.get_by_role("alert")).to_contain_text("The server cannot answer now")
            expect(page.locator(".countdown")).to_contain_text("Next try in")
        finally:
            sql("ALTER TABLE atelier.gone RENAME TO styles")
        expect(page.locator(".facts h1")).to_be_visible()


def photos_that_cannot_be_loaded(stage, _):
    with stage.page(PARKA, photos=False, expected=["ERR_INTERNET_DISCONNECTED"]) as page:
        expect(page.locator(".large")).to_have_text("This photo cannot be loadedfrom images.unsplash.com")
        expect(page.get_by_role("radio", name="Rust, photo 2 of 4: This photo cannot be loaded")).to_be_enabled()
        expect(page.locator(".swatch").first).to_contain_text("no photo")
        page.get_by_role("button", name="Next photo").click()
        expect(page.locator(".counter")).to_have_text("2 / 4")
        stage.picture(page, "no-photos")
    for scheme in ("light", "dark"):
        with stage.page(PARKA, scheme=scheme, photos=False, expected=["ERR_INTERNET_DISCONNECTED"]) as page:
            expect(page.locator(".thumbnail .words")).to_have_count(4)
            expect(page.locator(".swatch .words")).to_have_count(3)
            for words in page.locator(".words :is(strong, small, [aria-hidden])").all():
                ratio = words.evaluate(CONTRAST)
                assert ratio >= 4.5, f"{words.text_content()}: {ratio} in the {scheme}"


def unbroken_words(stage, _):
    for viewport in (DESKTOP, PHONE, {"width": 320, "height": 640}):
        for name, address in (
            ("product", "#/products/8900"),
            ("catalogue", "#/?page=5"),
            ("nothing", "#/" + "W" * 200),
            ("refused", "#/products/" + "9" * 200),
        ):
            with stage.page(address, viewport=viewport, expected=["400"] if name == "refused" else ()) as page:
                expect(page.locator("main h1")).to_be_visible()
                until(page, "!document.querySelector('.bone')")
                for size in page.locator(".chip input").all():
                    size.check()
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= viewport["width"], f"{name} is {wide} pixels wide of {viewport['width']}"
                stage.picture(page, f"unbroken-{viewport['width']}-{name}")


def a_sale_is_cheaper(stage, _):
    with stage.page("#/products/8900?style=89002") as page:
        expect(page.locator(".price")).to_have_text("$50.00")
        page.get_by_role("radio", name="Above its price", exact=True).check()
        expect(page.locator(".price")).to_have_text("$60.00")
        assert page.locator(".price :is(ins, del, .off)").count() == 0


def markup_is_text(stage, _):
    with stage.page("#/products/9002") as page:
        expect(page.locator("h1")).to_have_text("<img src=x onerror=alert(1)>")
        expect(page.locator(".facts .slogan")).to_have_text("<script>alert(2)</script>")
        expect(page.locator(".description")).to_have_text('&lt;b&gt; <b>bold</b> "quoted"')
        expect(page.locator(".price")).to_have_text("$1,234,567.50")
        expect(page.locator(".large")).to_contain_text("This photo has no address that a browser may load")
        expect(page.locator(".features li")).to_have_text("<u>feature</u> <u>value</u>")
        assert page.locator("main :is(script, b, u, i, img)").count() == 0


def on_a_phone_and_in_the_dark(stage, _):
    def lightness(page):
        return page.evaluate("getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")

    for scheme in ("light", "dark"):
        for address, name in (("", "catalogue"), (PARKA, "product"), ("#/products/9002", "markup")):
            with stage.page(address, viewport=PHONE, scheme=scheme) as page:
                expect(page.locator("main h1")).to_be_visible()
                until(page, "!document.querySelector('.bone')")
                assert (max(lightness(page)) < 64) == (scheme == "dark")
                wide = page.evaluate("document.documentElement.scrollWidth")
                assert wide <= PHONE["width"], f"{name} is {wide} pixels wide"
                stage.picture(page, f"phone-{name}-{scheme}")
    with stage.page(PARKA, scheme="dark") as page:
        page.locator("#log summary").click()
        expect(page.locator(".related .card")).to_have_count(4)
        stage.picture(page, "product-dark")


def without_a_page(stage, server):
    """With --no-page there is nothing at /, and everything else is as it was."""
    with server.other_options("--no-page"):
        context = stage.browser.new_context()
        page = context.new_page()
        for path, status in (("/", 404), ("/page/main.js", 404), ("/products", 200), ("/docs", 200)):
            answer = page.goto(server.url + path)
            assert answer.status == status, f"{path}: {answer.status}"
        context.close()


def below_a_path(stage, server):
    """With --base-path the page and /docs find their files and the API, with a slash behind the path and without one."""
    with server.other_options("--base-path", "/api/shop", "--compat"):
        for base in ("api/shop", "api/shop/"):
            with stage.page(f"{base}#/products/9001?style=90004") as page:
                # As without --compat: what is null is not there.
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


def earlier_front_end(stage, server):
    """A front end of another site, written for the earlier API: earlier.html says what it relies on."""
    base = "/api/fec2/hr-rfp"
    with server.other_options("--compat", "--base-path", base), other_site() as url:
        site = Stage(stage.browser, url, stage.pictures, api=server.url)
        with site.page(f"earlier.html?api={server.url}{base}") as page:
            expect(page.locator("#products li")).to_have_count(64)
            page.get_by_role("button", name="Harbour Parka").click()
            expect(page.locator("h1")).to_have_text("Harbour Parka")
            expect(page.locator(".style")).to_have_text(["Slate", "Rust", "Moss", "Chalk"])
            expect(page.locator(".style img")).to_have_count(3)
            expect(page.locator(".size")).to_have_text(["S: 8", "M: 1", "L: 0"])
            page.get_by_role("button", name="Chalk").click()
            expect(page.locator(".size")).to_have_text(["OUT OF STOCK"])
            expect(page.locator("#related li")).to_have_count(6)
            site.picture(page, "earlier")


CASES = [
    catalogue_page_by_page,
    product_and_back,
    style_changes_price_photos_and_sizes,
    size_limits_quantity,
    keys_alone,
    what_is_missing,
    photos_that_cannot_be_loaded,
    markup_is_text,
    unbroken_words,
    a_sale_is_cheaper,
    on_a_phone_and_in_the_dark,
    server_away_and_back,
    database_away_and_back,
    without_a_page,
    below_a_path,
    earlier_front_end,
]


def main():
    program, port, admin_port, pictures, *wanted = sys.argv[1:]
    server = Server(program, port, admin_port)
    # Chromium's sandbox is not for root.
    options = OPTIONS + (["--no-sandbox"] if os.geteuid() == 0 else [])
    with server.running(), sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=options)
        stage = Stage(browser, server.url, pictures)
        for case in CASES:
            if wanted and case.__name__ not in wanted:
                continue
            begin = time.monotonic()
            case(stage, server)
            print(f"{case.__name__.replace('_', ' '):40} {time.monotonic() - begin:5.1f} s", flush=True)
        browser.close()


if __name__ == "__main__":
    main()
