"""Container images that run models: a wheel of this code without Airflow, a framework, and a card's files.

Called by the command line; never imports Airflow or a framework.
"""

from airflow_agentic.images.context import BakedFile
from airflow_agentic.images.engine import Engine, Image
from airflow_agentic.images.recipes import RECIPES, Recipe
from airflow_agentic.images.targets import REPOSITORY, Built, Sources, Target, build

__all__ = [
    "RECIPES",
    "REPOSITORY",
    "BakedFile",
    "Built",
    "Engine",
    "Image",
    "Recipe",
    "Sources",
    "Target",
    "build",
]
