"""The Flask extensions, made once and bound in ``create_app``."""

from __future__ import annotations

from flask_bootstrap import Bootstrap5
from flask_limiter import Limiter
from flask_limiter.util import get_remote_address
from flask_login import LoginManager
from flask_migrate import Migrate
from flask_sqlalchemy import SQLAlchemy
from flask_wtf import CSRFProtect

from project.models import Base

db = SQLAlchemy(model_class=Base)
migrate = Migrate(render_as_batch=True)
login_manager = LoginManager()
csrf = CSRFProtect()
# Its headers stay off: they would put its own time into every Retry-After, also where a refusal knows better.
limiter = Limiter(get_remote_address, storage_uri="memory://")
bootstrap = Bootstrap5()
