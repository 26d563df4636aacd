"""The forms of sign-in, account and admin pages.

A form checks that something was filled in and can be read; the rules live below the pages, and what they
refuse comes back to the field by :func:`show_refusal`.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from flask import request
from flask_wtf import FlaskForm
from wtforms import (
    BooleanField,
    Field,
    FloatField,
    IntegerField,
    PasswordField,
    SelectField,
    SelectMultipleField,
    StringField,
    TextAreaField,
    ValidationError,
)
from wtforms.fields.choices import SelectChoice
from wtforms.validators import DataRequired, InputRequired, Length, Optional
from wtforms.widgets import CheckboxInput, ListWidget

from project.errors import SpacesError

DAY = 86_400
LIFETIMES = [
    SelectChoice("", "Never"),
    SelectChoice("7", "After 7 days"),
    SelectChoice("30", "After 30 days"),
    SelectChoice("90", "After 90 days"),
    SelectChoice("365", "After a year"),
]
NOTHING_TYPED = "This field is needed."


class CheckboxesField(SelectMultipleField):
    """Several choices as check boxes."""

    widget = ListWidget(prefix_label=False)
    option_widget = CheckboxInput()


class SameAs:
    """Compares a repeated password with the first one. Only a program may leave it out; pages always send it."""

    def __init__(self, other: str) -> None:
        self.other = other
        self.field_flags = {"required": True}

    def __call__(self, form: FlaskForm, field: Field) -> None:
        """Raise :class:`ValidationError` when both were sent and differ."""
        if field.name in request.form and field.data != form[self.other].data:
            raise ValidationError("The two passwords differ.")


class PageForm(FlaskForm):
    """Common parent: reads what a page sends, and nothing else."""

    class Meta(FlaskForm.Meta):
        """How WTForms reads; see there."""

        def wrap_formdata(self, form: FlaskForm, formdata: Any) -> Any:
            """Leave JSON to the API: the library would take it for a form, with values of any kind in it."""
            return None if request.is_json else super().wrap_formdata(form, formdata)


class LoginForm(PageForm):
    """Name and password of somebody who has an account."""

    username = StringField("User name", [DataRequired(NOTHING_TYPED)])
    password = PasswordField("Password", [InputRequired(NOTHING_TYPED)])


class RegisterForm(PageForm):
    """A new account."""

    username = StringField(
        "User name",
        [DataRequired(NOTHING_TYPED), Length(max=64)],
        description="Shown to the apps that get your requests.",
    )
    password = PasswordField("Password", [InputRequired(NOTHING_TYPED)])
    confirm = PasswordField("Repeat the password", [SameAs("password")], id="repeat")


class ChangePasswordForm(PageForm):
    """The old password and the new one, twice."""

    current_password = PasswordField("Current password", [InputRequired(NOTHING_TYPED)])
    new_password = PasswordField("New password", [InputRequired(NOTHING_TYPED)])
    confirm = PasswordField("Repeat the new password", [SameAs("new_password")], id="repeat")


class DeleteAccountForm(PageForm):
    """The password, once more, before the account goes."""

    password = PasswordField("Your password", [InputRequired(NOTHING_TYPED)])


class TokenForm(PageForm):
    """A new token; the choices of scopes and spaces are those that its maker has."""

    name = StringField(
        "Name", [DataRequired(NOTHING_TYPED), Length(max=100)], description="So that you know it again later."
    )
    scopes = CheckboxesField("What it may do", [DataRequired("Choose at least one.")])
    spaces = CheckboxesField(
        "Spaces that it may connect an app to",
        description="Only for “Connect an app”. None chosen: all that you may connect.",
    )
    expires = SelectField("Expires", choices=LIFETIMES, default="90")

    def offer(self, *, is_admin: bool, spaces: Iterable[str]) -> None:
        """Fill in the choices of this maker."""
        self.spaces.choices = [SelectChoice(name, name) for name in spaces]
        self.scopes.choices = [SelectChoice("api", "Use the HTTP API in your name (api)")]
        if is_admin or self.spaces.choices:
            self.scopes.choices.append(SelectChoice("app", "Connect an app (app)"))
        if is_admin:
            self.scopes.choices.append(SelectChoice("admin", "Run the site: make, change and delete spaces (admin)"))

    def expires_at(self, now: float) -> float | None:
        """Return when the token ends, in Unix seconds, or nothing."""
        return now + int(self.expires.data) * DAY if self.expires.data else None


class UserForm(PageForm):
    """A person added by an admin; without a password the site makes one."""

    username = StringField("User name", [DataRequired(NOTHING_TYPED), Length(max=64)])
    password = PasswordField("Password", description="Leave it empty to get a random one, shown once.")
    role = SelectField("Role", choices=[SelectChoice("user", "User"), SelectChoice("admin", "Admin")], default="user")


class SpaceForm(PageForm):
    """A space. An empty number means the site's default."""

    title = StringField("Title", [Length(max=200)], description="Any language. Empty: the name.")
    description = TextAreaField("Description", description="Markdown. Shown at the top of the space.")
    input_prompt = BooleanField("Enable Prompt Input", default=True, description="Users can enter text.")
    input_audio = BooleanField("Enable Audio Upload", description="Users can send one recording.")
    input_video = BooleanField("Enable Video Upload", description="Users can send one video.")
    input_file = BooleanField("Enable File Upload", description="Users can send files of any kind.")
    owner = StringField("Owner", description="User name. The owner may connect an app. Empty: nobody but admins.")
    visibility = SelectField(
        "Visibility",
        choices=[
            SelectChoice("public", "Public: everybody may look"),
            SelectChoice("private", "Private: only its owner and admins"),
        ],
        default="public",
    )
    timeout_seconds = FloatField("Timeout in seconds", [Optional()])
    max_attempts = IntegerField("Attempts", [Optional()])
    queue_length = IntegerField("Queue length", [Optional()])
    upload_mb = FloatField("MB per request", [Optional()])
    files = IntegerField("Files per request", [Optional()])
    queue_when_offline = BooleanField(
        "Queue while no app is connected", description="Otherwise a request is refused until an app connects."
    )
    allow_app_without_token = BooleanField("Allow an app without a token")


class NewSpaceForm(SpaceForm):
    """A space that does not exist yet: the name is chosen once and stays."""

    name = StringField(
        "Name",
        [DataRequired(NOTHING_TYPED)],
        description="1 to 64 of A-Z a-z 0-9 . _ - and first a letter or digit. It cannot be changed later.",
    )


def show_refusal(form: FlaskForm, error: SpacesError, *, otherwise: str) -> None:
    """Put a refusal at the fields that its details name, or at the field ``otherwise``."""
    shown = [_show(form, str(item.get("field", "")), str(item.get("message", ""))) for item in _items(error.details)]
    if not any(shown):
        _show(form, otherwise, error.message)


def _items(details: Any) -> list[dict[str, Any]]:
    return [item for item in details if isinstance(item, dict)] if isinstance(details, list) else []


def _show(form: FlaskForm, path: str, message: str) -> bool:
    """Add ``message`` to the field that ``path`` names (``inputs.audio`` is ``input_audio``), if there is one."""
    field = form._fields.get(path.replace("inputs.", "input_").removesuffix("_at"))
    if field is None:
        return False
    field.errors = [*field.errors, message[:1].upper() + message[1:]]
    return True
