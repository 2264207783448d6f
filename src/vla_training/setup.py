from setuptools import find_packages, setup

package_name = 'vla_training'

setup(
    name=package_name,
    version='0.1.0',
    packages=find_packages(exclude=['test', 'test.*']),
    package_data={package_name: ['train/configs/*.yaml']},
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package_name]),
        ('share/' + package_name, ['package.xml']),
    ],
    install_requires=['setuptools'],
    extras_require={'test': ['pytest']},
    zip_safe=True,
    maintainer='The VLA suite maintainers',
    maintainer_email='maintainers@vla-suite.invalid',
    description='Pretraining, feature cache, training and closed-loop evaluation of the policy.',
    license='Apache-2.0',
)
