"""The first screen of the demo: which story."""

from __future__ import annotations

from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.driver import Driver
from textual.drivers.linux_driver import LinuxDriver
from textual.widgets import OptionList, Static
from textual.widgets.option_list import Option

from tui.app.leaving import StdoutDriver
from tui.demo.stories import TEACH, StoryName
from tui.present import demo_text
from tui.present.messages import Message, say

CHOICES = (*StoryName, TEACH)


class StoryChoice(App[str]):
    """Asks for a story; its result is the story's name, None when the user left."""

    ENABLE_COMMAND_PALETTE = False
    CSS = """
    StoryChoice { background: $background; }
    #title { padding: 1 2; text-style: bold; }
    #stories { height: auto; max-height: 1fr; margin: 0 1; border: none; background: $background; }
    #keys { dock: bottom; padding: 0 2; color: $accent; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q,escape,ctrl+c", "leave", show=False, priority=True),
        Binding("j", "move(1)", show=False),
        Binding("k", "move(-1)", show=False),
        *(Binding(str(number), f"choose({number})", show=False) for number in range(1, len(CHOICES) + 1)),
    ]

    def __init__(self) -> None:
        super().__init__(ansi_color=True)

    def get_driver_class(self) -> type[Driver]:
        """Draws on the standard output, as the dashboard does."""
        chosen = super().get_driver_class()
        return StdoutDriver if chosen is LinuxDriver else chosen

    def compose(self) -> ComposeResult:
        """A title, the stories with what they are about, the keys."""
        yield Static(say(Message.CHOOSE_STORY), id="title", markup=False)
        options = []
        for number, name in enumerate(CHOICES, 1):
            words = demo_text.STORIES[name]
            text = Text.assemble((f"{number}  {words.title}", "bold"), f"\n   {words.about}")
            options.append(Option(text, id=name))
        yield OptionList(*options, id="stories", compact=True)
        yield Static(say(Message.CHOOSE_KEYS), id="keys", markup=False)

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """Enter or a click."""
        self.exit(event.option.id)

    def action_choose(self, number: int) -> None:
        """The number of a story."""
        self.exit(str(CHOICES[number - 1]))

    def action_move(self, step: int) -> None:
        """A line up or down."""
        stories = self.query_one(OptionList)
        if step > 0:
            stories.action_cursor_down()
        else:
            stories.action_cursor_up()

    def action_leave(self) -> None:
        """Without a story."""
        self.exit(None)
