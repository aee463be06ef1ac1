"""A ``vllm serve`` process of one's own: started on this machine, waited for, and ended whatever happens."""

from prism_pl.vllm_server.options import ServerOptions, check_installed, common_variables
from prism_pl.vllm_server.server import ServerEndedError, VLLMServer

__all__ = ["ServerEndedError", "ServerOptions", "VLLMServer", "check_installed", "common_variables"]
