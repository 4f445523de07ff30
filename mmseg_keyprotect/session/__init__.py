"""Open a protected model as a given user: with the correct key, without one, or with a wrong one."""

from mmseg_keyprotect.session.images import TestImages
from mmseg_keyprotect.session.model import ProtectedModel
from mmseg_keyprotect.session.scores import Scores
from mmseg_keyprotect.session.users import User, Users

__all__ = ['ProtectedModel', 'Scores', 'TestImages', 'User', 'Users']
